"""How an image file becomes a Portrait, and a video file a Clip."""
