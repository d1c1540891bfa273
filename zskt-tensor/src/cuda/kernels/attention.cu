// Attention maps and how far two are apart (Zagoruyko & Komodakis, ICLR 2017). A block computes an image.

// The mean over the channels of the square of each pixel, divided by the norm of all: map [B, pixels], norm [B]. With a
// target also the sum of the squared differences from it, [B].
typedef struct {
    const Number *x;
    const Real *target;
    Real *map, *norm, *distance;
    unsigned pixels, columns;
    Real epsilon;
} Attention;

KERNEL(attention, Attention) {
    Real *map = a.map + blockIdx.x * a.pixels;
    double squares = 0;
    for (unsigned pixel = threadIdx.x; pixel < a.pixels; pixel += BLOCK) {
        Real energy = 0;
        for (unsigned column = 0; column < a.columns; column++) {
            const Pack x = pack_at(a.x, (blockIdx.x * a.pixels + pixel) * a.columns + column);
            for (unsigned k = 0; k < PACK; k++) energy += load(x.at[k]) * load(x.at[k]);
        }
        energy /= a.columns * PACK;
        map[pixel] = energy;
        squares += (double)energy * energy;
    }
    const double norm = sqrt(summed_block(squares));
    const Real scale = (Real)(1 / (norm > a.epsilon ? norm : a.epsilon));
    double distance = 0;
    for (unsigned pixel = threadIdx.x; pixel < a.pixels; pixel += BLOCK) {
        map[pixel] *= scale;
        if (a.target) {
            const double difference = (double)map[pixel] - a.target[blockIdx.x * a.pixels + pixel];
            distance += difference * difference;
        }
    }
    if (threadIdx.x == 0) a.norm[blockIdx.x] = (Real)norm;
    if (a.target) {
        const double sum = summed_block(distance);
        if (threadIdx.x == 0) a.distance[blockIdx.x] = (Real)sum;
    }
}

// The gradient of x: from that of the map where there is no target, or from that of the mean squared difference.
typedef struct {
    const Number *x, *plus;
    const Real *map, *norm, *target, *gradient;
    Number *of_x;
    unsigned batch, pixels, columns;
    Real epsilon;
} AttentionGradient;

INLINE Real of_map(const AttentionGradient *a, unsigned index) {
    if (!a->target) return a->gradient[index];
    return a->gradient[0] * 2 * (a->map[index] - a->target[index]) / ((Real)a->batch * a->pixels);
}

KERNEL(attention_gradient, AttentionGradient) {
    const unsigned first = blockIdx.x * a.pixels;
    double projection = 0;
    for (unsigned pixel = threadIdx.x; pixel < a.pixels; pixel += BLOCK) {
        projection += (double)of_map(&a, first + pixel) * a.map[first + pixel];
    }
    projection = summed_block(projection);
    const Real norm = a.norm[blockIdx.x];
    // Below epsilon the divisor is a constant.
    const Real along = norm > a.epsilon ? (Real)projection : 0;
    const Real scale = 2 / ((norm > a.epsilon ? norm : a.epsilon) * (Real)(a.columns * PACK));
    for (unsigned at = threadIdx.x; at < a.pixels * a.columns; at += BLOCK) {
        const unsigned pixel = first + at / a.columns, index = first * a.columns + at;
        const Real factor = scale * (of_map(&a, pixel) - along * a.map[pixel]);
        Pack x = pack_at(a.x, index);
        for (unsigned k = 0; k < PACK; k++) {
            Real of_x = factor * load(x.at[k]);
            if (a.plus) of_x += load(a.plus[index * PACK + k]);
            x.at[k] = rounded(of_x);
        }
        put_pack(a.of_x, index, x);
    }
}

// scale times the sum of some numbers, by one block.
typedef struct {
    const Real *numbers;
    Real *total;
    unsigned count;
    Real scale;
} Total;

KERNEL(total, Total) {
    double sum = 0;
    for (unsigned index = threadIdx.x; index < a.count; index += BLOCK) sum += a.numbers[index];
    sum = summed_block(sum);
    if (threadIdx.x == 0) a.total[0] = (Real)(a.scale * sum);
}
