"""From stored runs to numbers: frames, means with intervals, paired differences, published against measured."""
