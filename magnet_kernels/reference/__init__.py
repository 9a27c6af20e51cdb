"""The operators in plain torch: the specification that every other backend is tested against.

Zeros and infinities: a tap of weight 0 is not read, and a sum of taps begins with the first one, so that a value that
an output lies on comes through unchanged, -0 included, whatever lies beside it. Confidence and score are never -0.
"""
