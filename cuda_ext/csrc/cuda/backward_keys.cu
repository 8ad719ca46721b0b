// dK, dV and the read-outs' gradient, after the rows are there.
#include "backward.cuh"

namespace vision_suite {
namespace {

template <class E, int G>
struct KeysShared {
  alignas(16) typename E::Storage k[E::kRowTile], v[E::kRowTile];
  alignas(16) typename E::Storage q[E::kStages][E::kColTile], dout[E::kStages][E::kColTile];
  typename E::Scratch scratch;
  Row<typename E::real> rows[E::kStages][E::kCols];
  typename E::real dextra[E::kStages][G + 1][E::kCols];
};

// dK, dV and the read-outs' gradient. One block: kRows keys of one key head of image t; it goes through the queries of all
// images and heads that attend them. Scores are transposed: rows are keys, columns queries.
template <class E, int G>
__global__ void __launch_bounds__(E::kThreads, (blocks_at_once<E, G>(3, 2))) keys_kernel(const BackwardCall p) {
  using real = typename E::real;
  using Input = typename E::Input;
  auto& shared = shared_as<KeysShared<E, G>>();
  const E e(&shared.scratch, p.D);
  int block = block_index();
  const int64_t first = int64_t{take(block, tiles_of(p.N, E::kRows))} * E::kRows, shift = p.N - p.M;
  const int hk = take(block, p.Hkv), t = block, group = static_cast<int>(p.H / p.Hkv);
  const int32_t* askers = p.partner == nullptr ? nullptr : p.inv_order + p.inv_offsets[t];
  const int images = 1 + (p.partner == nullptr ? 0 : p.inv_offsets[t + 1] - p.inv_offsets[t]);
  // Queries before the first one that sees any of these keys are not looked at.
  const int skipped = p.causal ? static_cast<int>(max(int64_t{0}, min(p.M, first - shift)) / E::kCols) : 0;
  const int tiles = tiles_of(p.M, E::kCols) - skipped;
  const bool biased = p.bias != nullptr, gaps = may_see_nothing(p);
  const real scale = static_cast<real>(p.scale);
  const int there = rest_of(p.N, first, E::kRows);
  const auto read = [&](int x) { return key_is_read<real>(p, t, first + x); };
  load_tile<E, E::kRows>(shared.k, rows_of<Input>(p.k, t, hk), p.k.n, first, there, p.D, biased, read);
  load_tile<E, E::kRows>(shared.v, rows_of<Input>(p.v, t, hk), p.v.n, first, there, p.D, biased, read);

  // Tiles within heads within images.
  int tile = skipped, head = 0, image = 0;
  const auto load = [&](int, int stage) {
    const int64_t i0 = int64_t{tile} * E::kCols, h = hk * group + head;
    const int64_t c = image == 0 ? t : askers[image - 1], row = (c * p.H + h) * p.M;
    const Row<real>* rows = rows_at<real>(p, c, h) + i0;
    const int count = rest_of(p.M, i0, E::kCols);
    // A query that sees nothing has no gradient, whatever it holds.
    const auto asks = [&](int x) { return sees(rows[x]); };
    load_tile<E, E::kCols>(shared.q[stage], rows_of<Input>(p.q, c, h), p.q.n, i0, count, p.D, gaps, asks);
    load_tile<E, E::kCols>(shared.dout[stage], rows_of<Input>(p.dout, c, h), p.dout.n, i0, count, p.D, gaps, asks);
    const int x = thread_index();
    if (x < count) {
      copy_async<sizeof(Row<real>)>(&shared.rows[stage][x], rows + x, true);
    } else if (x < E::kCols) {
      shared.rows[stage][x] = Row<real>{-minus_infinity<real>(), 0};
    }
#pragma unroll
    for (int g = 0; g < G; ++g) {
      fill<E, E::kCols>(shared.dextra[stage][g], [&](int x) { return dextra_of<real>(p, row, i0 + x, g); });
    }
    if (++tile == skipped + tiles) tile = skipped, ++head;
    if (head == group) head = 0, ++image;
  };

  real dk[E::R][E::O], dv[E::R][E::O], dreadout[E::R][G + 1], readout[E::R][G + 1], bias[E::R];
  bool unseen[E::R];
  clear(dk);
  clear(dv);
  clear(dreadout);
#pragma unroll
  for (int r = 0; r < E::R; ++r) {
    const real given = bias_of<real>(p, t, first + e.row(r));
    unseen[r] = given == minus_infinity<real>(), bias[r] = unseen[r] ? real(0) : given;
#pragma unroll
    for (int g = 0; g < G; ++g) readout[r][g] = readout_of<real>(p, t, first + e.row(r), g);
  }

  int computed = skipped;
  const auto compute = [&](int, int stage) {
    const int64_t i0 = int64_t{computed} * E::kCols;
    if (++computed == skipped + tiles) computed = skipped;
    if (e.idle(there)) return;
    const int columns = rest_of(p.M, i0, E::kCols);
    const bool hides = p.causal && first + E::kRows - 1 > i0 + shift;
    typename E::Reloaded keys, values;
    keys.load(e, shared.k);
    values.load(e, shared.v);
    real s[E::R][E::C], ds[E::R][E::C];
    e.scores(s, keys, shared.q[stage], columns);
    // Keys that nobody sees get weights, too, but nothing is made of them.
#pragma unroll
    for (int r = 0; r < E::R; ++r) {
#pragma unroll
      for (int c = 0; c < E::C; ++c) {
        s[r][c] = E::exp(s[r][c] * scale + bias[r] - shared.rows[stage][e.col(c)].lse);
      }
      if (hides) {
        const int least = limit_of(first + e.row(r) - shift - i0);  // the first query that sees this key
#pragma unroll
        for (int c = 0; c < E::C; ++c) s[r][c] = e.col(c) >= least ? s[r][c] : real(0);
      }
#pragma unroll
      for (int g = 0; g < G; ++g) {
#pragma unroll
        for (int c = 0; c < E::C; ++c) dreadout[r][g] += s[r][c] * shared.dextra[stage][g][e.col(c)];
      }
    }
    e.scores(ds, values, shared.dout[stage], columns);
    accumulate_visible(e, dv, s, shared.dout[stage], columns, hides);
#pragma unroll
    for (int r = 0; r < E::R; ++r) {
#pragma unroll
      for (int c = 0; c < E::C; ++c) {
        ds[r][c] -= shared.rows[stage][e.col(c)].delta;
#pragma unroll
        for (int g = 0; g < G; ++g) ds[r][c] += readout[r][g] * shared.dextra[stage][g][e.col(c)];
      }
    }
    if (hides) {  // where a weight is zero the product may be that of NaN
#pragma unroll
      for (int r = 0; r < E::R; ++r) {
#pragma unroll
        for (int c = 0; c < E::C; ++c) ds[r][c] = s[r][c] == 0 ? real(0) : ds[r][c];
      }
    }
#pragma unroll
    for (int r = 0; r < E::R; ++r) {
#pragma unroll
      for (int c = 0; c < E::C; ++c) ds[r][c] *= s[r][c];
    }
    accumulate_visible(e, dk, ds, shared.q[stage], columns, hides);
  };
  pipeline<E>(images * group * tiles, load, compute);

#pragma unroll
  for (int r = 0; r < E::R; ++r) {
    const int64_t j = first + e.row(r);
#pragma unroll
    for (int g = 0; g < G; ++g) dreadout[r][g] = lanes_sum<E>(dreadout[r][g]);
    if (j >= p.N) continue;
    if (unseen[r]) {
      clear(dk[r]), clear(dv[r]), clear(dreadout[r]);
    }
    e.store(rows_of<Input>(p.dk, t, hk) + j * p.dk.n, dk[r], scale, p.D);
    e.store(rows_of<Input>(p.dv, t, hk) + j * p.dv.n, dv[r], real(1), p.D);
    if (e.col(0) != 0) continue;
#pragma unroll
    for (int g = 0; g < G; ++g) {
      if (g < p.G) static_cast<real*>(p.dreadout)[((int64_t{t} * p.Hkv + hk) * p.N + j) * p.G + g] = dreadout[r][g];
    }
  }
}

}  // namespace

void cuda_backward_keys(const BackwardCall& p, StreamHandle stream) {
  with_engine(p, [&](auto engine) {
    using E = typename decltype(engine)::type;
    with_readouts<E>(p.G, [&](auto readouts) {
      constexpr int G = decltype(readouts)::value;
      const int64_t blocks = p.B * p.Hkv * ceil_div(p.N, E::kRows);
      launch(keys_kernel<E, G>, blocks, E::kThreads, sizeof(KeysShared<E, G>), p, stream);
    });
  });
}

}  // namespace vision_suite
