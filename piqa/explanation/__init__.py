"""Why a model gives its score: what in an image it hangs on, and what makes one image better than another."""
