"""DeepAR: probabilistic forecasts of many related time series by one autoregressive recurrent network."""
