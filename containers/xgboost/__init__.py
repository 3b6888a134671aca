"""The XGBoost image."""
