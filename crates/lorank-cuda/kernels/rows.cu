// Operations on rows. A block works on one row of the result, and reads and writes a place in one thread only, so a
// result may be written over an input.

extern "C" __global__ void copy(View x, View out, int width) {
    EACH_COLUMN(column, width) {
        float numbers[8];
        load8(x, blockIdx.x, column, width, numbers);
        store8(out, blockIdx.x, column, width, numbers);
    }
}

extern "C" __global__ void gather(View x, const u32 *rows, View out, int width) {
    i64 row = rows[blockIdx.x];
    EACH_COLUMN(column, width) {
        float numbers[8];
        load8(x, row, column, width, numbers);
        store8(out, blockIdx.x, column, width, numbers);
    }
}

// One to three tables; without ids, a table is none.
extern "C" __global__ void embed(
    View a, const u32 *a_ids, View b, const u32 *b_ids, View c, const u32 *c_ids, View out, int width
) {
    EACH_COLUMN(column, width) {
        float sums[8], numbers[8];
        load8(a, a_ids[blockIdx.x], column, width, sums);
        if (b_ids) {
            load8(b, b_ids[blockIdx.x], column, width, numbers);
            for (int i = 0; i < 8; i++) sums[i] += numbers[i];
        }
        if (c_ids) {
            load8(c, c_ids[blockIdx.x], column, width, numbers);
            for (int i = 0; i < 8; i++) sums[i] += numbers[i];
        }
        store8(out, blockIdx.x, column, width, sums);
    }
}

extern "C" __global__ void scale(View x, float factor, View out, int width) {
    EACH_COLUMN(column, width) {
        float numbers[8];
        load8(x, blockIdx.x, column, width, numbers);
        for (int i = 0; i < 8; i++) numbers[i] *= factor;
        store8(out, blockIdx.x, column, width, numbers);
    }
}

extern "C" __global__ void add(View x, View y, View out, int width) {
    EACH_COLUMN(column, width) {
        float numbers[8], others[8];
        load8(x, blockIdx.x, column, width, numbers);
        load8(y, blockIdx.x, column, width, others);
        for (int i = 0; i < 8; i++) numbers[i] += others[i];
        store8(out, blockIdx.x, column, width, numbers);
    }
}

// As `Activation` in Rust.
__device__ inline float activated(int activation, float x) {
    switch (activation) {
    case 0: return x * 0.5f * (1.0f + erff(x * 0.70710678118654752f));
    case 1: return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case 2: return x / (1.0f + expf(-x));
    case 3: return fmaxf(x, 0.0f);
    default: return tanhf(x);
    }
}

extern "C" __global__ void activate(View x, int activation, View out, int width) {
    EACH_COLUMN(column, width) {
        float numbers[8];
        load8(x, blockIdx.x, column, width, numbers);
        for (int i = 0; i < 8; i++) numbers[i] = activated(activation, numbers[i]);
        store8(out, blockIdx.x, column, width, numbers);
    }
}

extern "C" __global__ void gated(View gate, View up, int activation, View out, int width) {
    EACH_COLUMN(column, width) {
        float numbers[8], factors[8];
        load8(gate, blockIdx.x, column, width, numbers);
        load8(up, blockIdx.x, column, width, factors);
        for (int i = 0; i < 8; i++) numbers[i] = activated(activation, numbers[i]) * factors[i];
        store8(out, blockIdx.x, column, width, numbers);
    }
}

extern "C" __global__ void keep_columns(View x, const u32 *ranges, int width) {
    int start = ranges[2 * blockIdx.x], end = ranges[2 * blockIdx.x + 1];
    EACH_COLUMN(column, width) {
        if (start <= column && column + 8 <= end) continue;
        float numbers[8];
        load8(x, blockIdx.x, column, width, numbers);
        for (int i = 0; i < 8; i++) numbers[i] = start <= column + i && column + i < end ? numbers[i] : 0.0f;
        store8(x, blockIdx.x, column, width, numbers);
    }
}

extern "C" __global__ void mean(View x, const u32 *ranges, View out, int width) {
    u32 start = ranges[2 * blockIdx.x], end = ranges[2 * blockIdx.x + 1];
    EACH_COLUMN(column, width) {
        float sums[8] = {}, numbers[8];
        for (i64 row = start; row < end; row++) {
            load8(x, row, column, width, numbers);
            for (int i = 0; i < 8; i++) sums[i] += numbers[i];
        }
        for (int i = 0; i < 8; i++) sums[i] /= (float)(end - start);
        store8(out, blockIdx.x, column, width, sums);
    }
}

// Rotary positions: the pairs of a row are spread over the threads, eight at a time where a half of a head has so many.
extern "C" __global__ void rope(View x, int head_dim, View table, const u32 *positions, int n_pairs) {
    int half = head_dim / 2;
    i64 row = blockIdx.x, position = positions[row];
    if (half % 8 == 0) {
        for (int pair = 8 * threadIdx.x; pair < n_pairs; pair += 8 * blockDim.x) {
            int at = pair % half, first = pair / half * head_dim + at;
            float cos[8], sin[8], a[8], b[8], turned[8];
            load8(table, position, at, head_dim, cos);
            load8(table, position, half + at, head_dim, sin);
            load8(x, row, first, 2 * n_pairs, a);
            load8(x, row, first + half, 2 * n_pairs, b);
            for (int i = 0; i < 8; i++) turned[i] = a[i] * cos[i] - b[i] * sin[i];
            store8(x, row, first, 2 * n_pairs, turned);
            for (int i = 0; i < 8; i++) turned[i] = b[i] * cos[i] + a[i] * sin[i];
            store8(x, row, first + half, 2 * n_pairs, turned);
        }
        return;
    }
    for (int pair = threadIdx.x; pair < n_pairs; pair += blockDim.x) {
        int first = pair / half * head_dim + pair % half;
        float cos = load1(table, position, pair % half), sin = load1(table, position, half + pair % half);
        float a = load1(x, row, first), b = load1(x, row, first + half);
        store1(x, row, first, a * cos - b * sin);
        store1(x, row, first + half, b * cos + a * sin);
    }
}
