"""The records that everything else derives from: cards, options, what a method is given and gives back."""
