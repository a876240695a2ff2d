"""Where the brain is: one method for each file, ``mask`` chooses among them."""
