// Sums and maxima over the lanes of a vector, one after the other; AVX-512 has its own.

template <class real, int W, class vec>
inline real lane_sum(vec v) {
  real sum = 0;
  for (int i = 0; i < W; ++i) sum += v[i];
  return sum;
}

template <class real, int W, class vec>
inline real lane_max(vec v) {
  real most = v[0];
  for (int i = 1; i < W; ++i) most = v[i] > most ? v[i] : most;
  return most;
}
