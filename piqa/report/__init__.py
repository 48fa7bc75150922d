"""What a person sees of portraits: the report of factors and scores, as pages, CSV and PDF."""
