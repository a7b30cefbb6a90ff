// What all kernels share: views of rows, formats of numbers, sums over threads. This text comes before each of the
// other files.
//
// No header is included, so that NVRTC needs none. With SHIM defined, shim.h has taken the place of the device's
// functions, and the kernels run on the host.

typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;

#ifndef SHIM
#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) type name[]
#endif

// As `Format` in Rust.
enum { F32 = 0, BF16 = 1, E4M3 = 2 };

// Rows: `stride` numbers from one to the next. With `is_aligned`, each row begins at a multiple of eight numbers'
// bytes, at most 16.
struct View {
    char *data;
    i64 stride;
    int format;
    int is_aligned;
};

#define INFINITE __uint_as_float(0x7f800000)

// 2 to the power of a normal exponent.
__device__ inline float power_of_two(int exponent) { return __uint_as_float((u32)(exponent + 127) << 23); }

__device__ inline float of_bf16(u32 bits) { return __uint_as_float(bits << 16); }

__device__ inline u32 to_bf16(float x) {
    u32 bits = __float_as_uint(x);
    return x != x ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

__device__ inline float of_e4m3(u32 bits) {
    int exponent = bits >> 3 & 15;
    float fraction = (float)(bits & 7);
    float size = exponent == 0 ? fraction * power_of_two(-9) : (8.0f + fraction) * power_of_two(exponent - 10);
    size = (bits & 0x7f) == 0x7f ? __uint_as_float(0x7fc00000) : size;
    return bits & 0x80 ? -size : size;
}

// The nearest number, ties to even, at most 448: as `Format::round` in Rust, which has the reasons.
__device__ inline u32 to_e4m3(float x) {
    u32 sign = __float_as_uint(x) >> 24 & 0x80;
    float size = fminf(fabsf(x), 448.0f);
    int exponent = max((int)(__float_as_uint(size) >> 23) - 127, -6);
    int steps = (int)rintf(size * power_of_two(3 - exponent));
    return x != x ? sign | 0x7f : sign | (u32)((exponent + 6) * 8 + steps);
}

__device__ inline float load1(View v, i64 row, int column) {
    i64 at = row * v.stride + column;
    if (v.format == F32) return ((const float *)v.data)[at];
    if (v.format == BF16) return of_bf16(((const u16 *)v.data)[at]);
    return of_e4m3(((const unsigned char *)v.data)[at]);
}

__device__ inline void store1(View v, i64 row, int column, float x) {
    i64 at = row * v.stride + column;
    if (v.format == F32) ((float *)v.data)[at] = x;
    else if (v.format == BF16) ((u16 *)v.data)[at] = (u16)to_bf16(x);
    else ((unsigned char *)v.data)[at] = (unsigned char)to_e4m3(x);
}

// Eight numbers from a column that is a multiple of 8; zeros after the width.
__device__ inline void load8(View v, i64 row, int column, int width, float x[8]) {
    i64 at = row * v.stride + column;
    if (v.is_aligned && column + 8 <= width) {
        if (v.format == F32) {
            float4 a = ((const float4 *)v.data)[at / 4], b = ((const float4 *)v.data)[at / 4 + 1];
            x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w, x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
        } else if (v.format == BF16) {
            uint4 pairs = ((const uint4 *)v.data)[at / 8];
            u32 words[4] = {pairs.x, pairs.y, pairs.z, pairs.w};
            for (int i = 0; i < 4; i++) x[2 * i] = of_bf16(words[i] & 0xffff), x[2 * i + 1] = of_bf16(words[i] >> 16);
        } else {
            uint2 fours = ((const uint2 *)v.data)[at / 8];
            for (int i = 0; i < 8; i++) x[i] = of_e4m3((i < 4 ? fours.x : fours.y) >> 8 * (i & 3) & 0xff);
        }
        return;
    }
    for (int i = 0; i < 8; i++) x[i] = column + i < width ? load1(v, row, column + i) : 0.0f;
}

// Eight numbers to a column that is a multiple of 8; nothing after the width.
__device__ inline void store8(View v, i64 row, int column, int width, const float x[8]) {
    i64 at = row * v.stride + column;
    if (v.is_aligned && column + 8 <= width) {
        if (v.format == F32) {
            float4 a = {x[0], x[1], x[2], x[3]}, b = {x[4], x[5], x[6], x[7]};
            ((float4 *)v.data)[at / 4] = a, ((float4 *)v.data)[at / 4 + 1] = b;
        } else if (v.format == BF16) {
            u32 words[4];
            for (int i = 0; i < 4; i++) words[i] = to_bf16(x[2 * i]) | to_bf16(x[2 * i + 1]) << 16;
            uint4 pairs = {words[0], words[1], words[2], words[3]};
            ((uint4 *)v.data)[at / 8] = pairs;
        } else {
            u32 words[2] = {0, 0};
            for (int i = 0; i < 8; i++) words[i / 4] |= to_e4m3(x[i]) << 8 * (i & 3);
            uint2 fours = {words[0], words[1]};
            ((uint2 *)v.data)[at / 8] = fours;
        }
        return;
    }
    for (int i = 0; i < 8; i++)
        if (column + i < width) store1(v, row, column + i, x[i]);
}

__device__ inline float warp_sum(float x) {
    for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xffffffff, x, lanes);
    return x;
}

__device__ inline float warp_max(float x) {
    for (int lanes = 16; lanes > 0; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, lanes));
    return x;
}

// Over all threads of a block of whole warps; in the same order in each thread, so all have one result.
__device__ inline float block_sum(float x) {
    __shared__ float parts[32];
    x = warp_sum(x);
    // The parts of the sum before have been read.
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0.0f;
    for (int i = 0; i < blockDim.x / 32; i++) sum += parts[i];
    return sum;
}

__device__ inline float block_max(float x) {
    __shared__ float parts[32];
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    float largest = parts[0];
    for (int i = 1; i < blockDim.x / 32; i++) largest = fmaxf(largest, parts[i]);
    return largest;
}

// The columns of a thread, eight at a time: a block works on one row.
#define EACH_COLUMN(column, width) for (int column = 8 * threadIdx.x; column < width; column += 8 * blockDim.x)
