"""Joint training: one forward pass teaches a model to think and to embed (arXiv 2502.07555, section 3.3)."""
