// The exponential function, for softmax. Included by other kernel files.

// e^x for x <= 0, within 2 ulp; at least e^-87, so that -inf and NaN harm nothing.
MAGNET_INLINE F32 exp_negative(F32 x) {
  x = max(x, splat(-87.0f));
  const F32 shifted = multiply_add(x, splat(1.44269504f), splat(12582912.0f));  // rounds: its last bits are n
  const F32 n = shifted - 12582912.0f;
  F32 r = multiply_add(n, splat(-0.693359375f), x);
  r = multiply_add(n, splat(2.12194440e-4f), r);
  F32 p = splat(1.9875691500e-4f);
  p = multiply_add(p, r, splat(1.3981999507e-3f));
  p = multiply_add(p, r, splat(8.3334519073e-3f));
  p = multiply_add(p, r, splat(4.1665795894e-2f));
  p = multiply_add(p, r, splat(1.6666665459e-1f));
  p = multiply_add(p, r, splat(5.0000001201e-1f));
  p = multiply_add(p, r * r, r + 1.0f);
  return bits_as<F32>(bits_as<I32>(p) + (bits_as<I32>(shifted) << 23));
}
