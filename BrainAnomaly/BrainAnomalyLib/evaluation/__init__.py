"""The field's metrics, its protocols, and tables that compare detectors on a cohort with known lesions."""
