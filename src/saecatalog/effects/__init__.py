"""What features do: their effect on the model's predictions, steering, and where they come from."""

EFFECTS = "effects.json"
"""In the output of the stage: the facts about the effects, or the reason why there are none."""

STEERING = "steering.json"
"""In the output of that stage: the facts about steering and attribution, or the reasons why there are none."""
