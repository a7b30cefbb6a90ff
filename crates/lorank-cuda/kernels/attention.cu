// Attention of sequences of any lengths (FlashAttention-2, arXiv 2307.08691): a block works on up to 64 queries of one
// sequence under one head, and reads keys and values where they are.

// As `tiles` in Rust.
struct Tile {
    u32 query, n_queries, position, prefix, n_prefix, own, n_own, unused;
};

__device__ inline i64 key_row(const Tile &tile, int position) {
    return position < tile.n_prefix ? tile.prefix + position : tile.own + (position - tile.n_prefix);
}

#ifndef SHIM
// Two f32 as bf16: the first one in the lower half.
__device__ inline u32 pack_bf16(float low, float high) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// c += a b: a is [16, 16], b is [16, 8], in the layout of "mma.m16n8k16" in the PTX manual.
__device__ inline void mma_bf16(float c[4], const u32 a[4], u32 b0, u32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline u32 shared_address(const void *pointer) { return (u32)__cvta_generic_to_shared(pointer); }

// Four matrices of [8, 8], of which each thread names a row: threads 8 i to 8 i + 7 those of matrix i.
__device__ inline void load_matrices(u32 to[4], const u16 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// The same, each transposed.
__device__ inline void load_transposed(u32 to[4], const u16 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// Starts a copy of 16 bytes to shared memory; zeros instead, if `is_there` is false.
__device__ inline void copy_async(u16 *to, const void *from, bool is_there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(shared_address(to)), "l"(from), "r"(is_there ? 16 : 0) : "memory");
}

__device__ inline void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for this thread's copies, except those of the last N groups.
template <int N> __device__ inline void wait_groups() { asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory"); }
#endif

#define KEYS 64
#define THREADS 128

// Shared memory has rows of D numbers and 16 bytes more, so that eight rows are in different banks.
template <int D>
__device__ inline void load_rows(u16 *to, View rows, int column, const Tile &tile, int first, bool is_query) {
    const int PARTS = D / 8;
    int n = is_query ? tile.n_queries : tile.n_prefix + tile.n_own;
    for (int i = threadIdx.x; i < KEYS * PARTS; i += THREADS) {
        int at = first + i / PARTS, part = i % PARTS;
        bool is_there = at < n;
        // A row that is there, of which nothing is copied, in place of one that is not.
        int safe = is_there ? at : 0;
        i64 row = is_query ? tile.query + safe : key_row(tile, safe);
        const u16 *from = (const u16 *)rows.data + row * rows.stride + column + 8 * part;
        copy_async(to + i / PARTS * (D + 8) + 8 * part, from, is_there);
    }
}

// Four warps, each with 16 queries. A thread has rows `lane / 4` and `lane / 4 + 8` of its warp's queries, and two
// columns of every eight. `window` is below 2^30, and so are positions.
template <int D> __device__ void attention(
    View q, View k, View v, View out, const Tile *tiles, int n_heads, int group, float scale, int is_causal, int window
) {
    const int PITCH = D + 8, BUFFER = KEYS * PITCH;
    // Two buffers of keys, two of values.
    DYNAMIC_SHARED(u16, shared);
    const Tile tile = tiles[blockIdx.x / n_heads];
    const int head = blockIdx.x % n_heads, kv_column = head / group * D;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int n_keys = tile.n_prefix + tile.n_own;
    const int first = tile.position, last = first + tile.n_queries - 1;
    const int begin = max(first - window, 0) / KEYS * KEYS, end = min(is_causal ? last + 1 : last + window + 1, n_keys);

    // The queries go through the second buffer of keys into registers.
    load_rows<D>(shared + BUFFER, q, head * D, tile, 0, true);
    load_rows<D>(shared, k, kv_column, tile, begin, false);
    load_rows<D>(shared + 2 * BUFFER, v, kv_column, tile, begin, false);
    end_group();
    wait_groups<0>();
    __syncthreads();
    u32 query[D / 16][4];
    for (int step = 0; step < D / 16; step++)
        load_matrices(query[step], shared + BUFFER + (16 * warp + lane % 16) * PITCH + 16 * step + lane / 16 * 8);
    __syncthreads();

    float sums[D / 8][4] = {}, largest[2] = {-INFINITE, -INFINITE}, total[2] = {0.0f, 0.0f};
    const float to_log2 = scale * 1.4426950408889634f;
    for (int start = begin, buffer = 0; start < end; start += KEYS, buffer ^= 1) {
        if (start + KEYS < end) {
            load_rows<D>(shared + (buffer ^ 1) * BUFFER, k, kv_column, tile, start + KEYS, false);
            load_rows<D>(shared + (2 + (buffer ^ 1)) * BUFFER, v, kv_column, tile, start + KEYS, false);
        }
        end_group();
        wait_groups<1>();
        __syncthreads();
        const u16 *keys = shared + buffer * BUFFER, *values = shared + (2 + buffer) * BUFFER;

        float scores[KEYS / 8][4] = {};
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int step = 0; step < D / 32; step++) {
                u32 key[4];
                load_matrices(key, keys + (8 * n + lane % 8) * PITCH + 32 * step + lane / 8 * 8);
                mma_bf16(scores[n], query[2 * step], key[0], key[1]);
                mma_bf16(scores[n], query[2 * step + 1], key[2], key[3]);
            }

        const int stop = start + KEYS - 1;
        bool in_window = last - start <= window && stop - first <= window;
        bool all_seen = in_window && stop < n_keys && (!is_causal || stop <= first);
        if (!all_seen)
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    int key = start + 8 * n + lane % 4 * 2 + i % 2, at = first + 16 * warp + lane / 4 + i / 2 * 8;
                    bool in_window = at - key <= window && key - at <= window;
                    bool is_seen = in_window && key < n_keys && (!is_causal || key <= at);
                    if (!is_seen) scores[n][i] = -INFINITE;
                }

#pragma unroll
        for (int half = 0; half < 2; half++) {
            float top = largest[half];
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) top = fmaxf(top, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
            top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, 1));
            top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, 2));
            // A query may see none of these keys, and none before.
            float base = top == -INFINITE ? 0.0f : top * to_log2;
            float shrink = exp2f(largest[half] * to_log2 - base);
            largest[half] = top;
            total[half] *= shrink;
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 2 * half; i < 2 * half + 2; i++) {
                    scores[n][i] = exp2f(scores[n][i] * to_log2 - base);
                    total[half] += scores[n][i];
                }
#pragma unroll
            for (int n = 0; n < D / 8; n++) sums[n][2 * half] *= shrink, sums[n][2 * half + 1] *= shrink;
        }

#pragma unroll
        for (int step = 0; step < KEYS / 16; step++) {
            float *low = scores[2 * step], *high = scores[2 * step + 1];
            u32 weights[4] = {pack_bf16(low[0], low[1]), pack_bf16(low[2], low[3]),
                              pack_bf16(high[0], high[1]), pack_bf16(high[2], high[3])};
#pragma unroll
            for (int n = 0; n < D / 16; n++) {
                u32 value[4];
                load_transposed(value, values + (16 * step + lane % 16) * PITCH + 16 * n + lane / 16 * 8);
                mma_bf16(sums[2 * n], weights, value[0], value[1]);
                mma_bf16(sums[2 * n + 1], weights, value[2], value[3]);
            }
        }
        // The buffers are overwritten in the next turn.
        __syncthreads();
    }

#pragma unroll
    for (int half = 0; half < 2; half++) {
        float sum = total[half];
        sum += __shfl_xor_sync(0xffffffff, sum, 1);
        sum += __shfl_xor_sync(0xffffffff, sum, 2);
        int row = 16 * warp + lane / 4 + 8 * half;
        if (row >= tile.n_queries) continue;
        u16 *to = (u16 *)out.data + (tile.query + row) * out.stride + head * D + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < D / 8; n++)
            *(u32 *)(to + 8 * n) = pack_bf16(sums[n][2 * half] / sum, sums[n][2 * half + 1] / sum);
    }
}

#define ATTENTION(D)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS) attention_##D(                                              \
        View q, View k, View v, View out, const Tile *tiles, int n_heads, int group, float scale, int is_causal,      \
        int window                                                                                                    \
    ) {                                                                                                               \
        attention<D>(q, k, v, out, tiles, n_heads, group, scale, is_causal, window);                                  \
    }

ATTENTION(32)
ATTENTION(64)
ATTENTION(128)

#define HEAD_DIM_MAX 256

// Any format, alignment and width of heads: a warp works on one query at a time, with a key in each lane, then with
// columns in lanes.
extern "C" __global__ void __launch_bounds__(THREADS) attention_any(
    View q, View k, View v, View out, const Tile *tiles, int n_heads, int group, float scale, int is_causal, int window,
    int head_dim
) {
    __shared__ float queries[THREADS / 32][HEAD_DIM_MAX];
    const Tile tile = tiles[blockIdx.x / n_heads];
    const int head = blockIdx.x % n_heads, kv_column = head / group * head_dim;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int n = warp; n < tile.n_queries; n += THREADS / 32) {
        for (int c = lane; c < head_dim; c += 32)
            queries[warp][c] = load1(q, tile.query + n, head * head_dim + c) * scale;
        __syncwarp();
        const int at = tile.position + n, n_keys = tile.n_prefix + tile.n_own;
        const int begin = max(at - window, 0), end = min(is_causal ? at + 1 : at + window + 1, n_keys);
        float sums[HEAD_DIM_MAX / 32] = {}, largest = -INFINITE, total = 0.0f;
        for (int start = begin; start < end; start += 32) {
            float score = -INFINITE;
            if (start + lane < end) {
                i64 row = key_row(tile, start + lane);
                score = 0.0f;
#pragma unroll 2
                for (int c = 0; c < head_dim; c++) score += queries[warp][c] * load1(k, row, kv_column + c);
            }
            float top = fmaxf(largest, warp_max(score)), shrink = expf(largest - top);
            float weight = expf(score - top);
            largest = top;
            total = total * shrink + warp_sum(weight);
#pragma unroll
            for (int i = 0; i < HEAD_DIM_MAX / 32; i++) sums[i] *= shrink;
            for (int key = 0; key < min(32, end - start); key++) {
                i64 row = key_row(tile, start + key);
                float factor = __shfl_sync(0xffffffff, weight, key);
#pragma unroll
                for (int i = 0; i < HEAD_DIM_MAX / 32; i++)
                    if (32 * i + lane < head_dim) sums[i] += factor * load1(v, row, kv_column + 32 * i + lane);
            }
        }
#pragma unroll
        for (int i = 0; i < HEAD_DIM_MAX / 32; i++)
            if (32 * i + lane < head_dim) store1(out, tile.query + n, head * head_dim + 32 * i + lane, sums[i] / total);
        __syncwarp();
    }
}
