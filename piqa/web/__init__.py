"""Pages: the templates, styles, scripts and widgets that the leaderboard and the report share."""
