"""The leaderboard as a page, as tables and on the terminal."""
