"""From residuals to anomaly maps whose numbers a reader can interpret."""
