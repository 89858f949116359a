"""What features do: effects on the predictions of the model, steering, and what a feature is made of."""
