"""One script a question: each writes a CSV and draws a picture of it. No script imports another."""
