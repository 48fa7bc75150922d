"""How do people in a browser, and programs, use all of this? Jobs, storage and limits; other rooms own the logic."""
