"""The neutral text on which the price of steering is measured: plain words about nothing in particular."""

TEXT = (
    "The road to the village follows the river for about two miles. In spring the water is high, and the path along "
    "the bank is often closed. Most people walk up through the wood instead, where the ground is dry, and come down "
    "again by the mill. It takes a little longer, but the view from the hill is worth it."
)
