"""What the results of a cohort say together: burden, outliers, where findings lie, how two groups differ."""
