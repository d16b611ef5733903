"""How each language is recognised: one file each, all pure, all returning a Plan or None."""
