// Operations that need a sum or the largest number of a row: a block works on one row, and reads it again from the
// cache.

extern "C" __global__ void rms_norm(View x, const float *weight, float eps, View out, int width) {
    float numbers[8], sum = 0.0f;
    EACH_COLUMN(column, width) {
        load8(x, blockIdx.x, column, width, numbers);
        for (int i = 0; i < 8; i++) sum += numbers[i] * numbers[i];
    }
    float factor = 1.0f / sqrtf(block_sum(sum) / (float)width + eps);
    EACH_COLUMN(column, width) {
        load8(x, blockIdx.x, column, width, numbers);
        for (int i = 0; i < 8 && column + i < width; i++) numbers[i] *= factor * weight[column + i];
        store8(out, blockIdx.x, column, width, numbers);
    }
}

extern "C" __global__ void layer_norm(View x, const float *weight, const float *bias, float eps, View out, int width) {
    float numbers[8], sum = 0.0f;
    EACH_COLUMN(column, width) {
        load8(x, blockIdx.x, column, width, numbers);
        for (int i = 0; i < 8; i++) sum += numbers[i];
    }
    float mean = block_sum(sum) / (float)width;
    sum = 0.0f;
    EACH_COLUMN(column, width) {
        load8(x, blockIdx.x, column, width, numbers);
        for (int i = 0; i < 8 && column + i < width; i++) sum += (numbers[i] - mean) * (numbers[i] - mean);
    }
    float factor = 1.0f / sqrtf(block_sum(sum) / (float)width + eps);
    EACH_COLUMN(column, width) {
        load8(x, blockIdx.x, column, width, numbers);
        for (int i = 0; i < 8 && column + i < width; i++)
            numbers[i] = (numbers[i] - mean) * factor * weight[column + i] + bias[column + i];
        store8(out, blockIdx.x, column, width, numbers);
    }
}

extern "C" __global__ void quantize(View x, View out, float *scales, int width) {
    float numbers[8], largest = 0.0f;
    EACH_COLUMN(column, width) {
        load8(x, blockIdx.x, column, width, numbers);
        for (int i = 0; i < 8; i++) largest = fmaxf(largest, fabsf(numbers[i]));
    }
    largest = block_max(largest);
    float scale = largest > 0.0f ? largest / 448.0f : 1.0f;
    if (threadIdx.x == 0) scales[blockIdx.x] = scale;
    EACH_COLUMN(column, width) {
        load8(x, blockIdx.x, column, width, numbers);
        for (int i = 0; i < 8; i++) numbers[i] /= scale;
        store8(out, blockIdx.x, column, width, numbers);
    }
}

// What follows a product without the scales of its rows, its bias or its residual. Any of them may have no data.
extern "C" __global__ void finish(
    View product, const float *x_scales, const float *w_scales, View bias, View add, View out, int width
) {
    float numbers[8], others[8];
    EACH_COLUMN(column, width) {
        load8(product, blockIdx.x, column, width, numbers);
        if (x_scales)
            for (int i = 0; i < 8 && column + i < width; i++) numbers[i] *= x_scales[blockIdx.x] * w_scales[column + i];
        if (bias.data) {
            load8(bias, 0, column, width, others);
            for (int i = 0; i < 8; i++) numbers[i] += others[i];
        }
        if (add.data) {
            load8(add, blockIdx.x, column, width, others);
            for (int i = 0; i < 8; i++) numbers[i] += others[i];
        }
        store8(out, blockIdx.x, column, width, numbers);
    }
}
