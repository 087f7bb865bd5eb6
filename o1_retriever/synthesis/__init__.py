"""An expert explores candidate thoughts, a committee refines them by voting (paper, section 3.2)."""
