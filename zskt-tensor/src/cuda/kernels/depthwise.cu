// Depthwise convolutions: each channel of a result is made of the same channel alone, by weights [K, K, C].

// Pixels of a row that a thread makes, which share what it reads of the weights.
#define STRIP 4
// The most rows and columns of weights.
#define MOST_TAPS 7

typedef struct {
    const Number *from, *weight, *plus;
    const Real *bias;
    Number *to;
    unsigned batch, height, width, columns; // of the result, and its packs of a pixel
    unsigned from_height, from_width, kernel, stride, padding;
} Depthwise;

#define EACH_STRIP(index, a) EACH_PACK(index, (a).batch * (a).height * strips_of((a).width) * (a).columns)

INLINE unsigned strips_of(unsigned width) { return (width + STRIP - 1) / STRIP; }

typedef struct { Real at[STRIP][PACK]; } Strip;

// What the sums begin with.
INLINE Strip biases(const Depthwise *a, unsigned column) {
    Strip strip;
    for (unsigned s = 0; s < STRIP; s++) {
        for (unsigned k = 0; k < PACK; k++) strip.at[s][k] = a->bias ? a->bias[column * PACK + k] : 0;
    }
    return strip;
}

// Adds what a tap gives to one pixel.
INLINE void add_tap(Real *sums, Pack weight, const Number *map, unsigned index) {
    const Pack from = pack_at(map, index);
    for (unsigned k = 0; k < PACK; k++) sums[k] += load(weight.at[k]) * load(from.at[k]);
}

INLINE void put_strip(const Depthwise *a, Spot spot, Strip strip) {
    for (unsigned s = 0; s < STRIP; s++, spot.x++) {
        if (spot.x < a->width) put_plus(a->plus, a->to, index_of(spot, a->height, a->width, a->columns), strip.at[s]);
    }
}

// The convolution. What is left of the map or above it has an index that is too large.
KERNEL(depthwise, Depthwise) {
    EACH_STRIP(index, a) {
        Spot spot = spot_of(index, a.height, strips_of(a.width), a.columns), from = spot;
        spot.x *= STRIP;
        Strip strip = biases(&a, spot.column);
        for (unsigned row = 0; row < a.kernel; row++) {
            from.y = spot.y * a.stride + row - a.padding;
            if (from.y >= a.from_height) continue;
            for (unsigned tap = 0; tap < a.kernel; tap++) {
                const Pack weight = pack_at(a.weight, (row * a.kernel + tap) * a.columns + spot.column);
                for (unsigned s = 0; s < STRIP; s++) {
                    from.x = (spot.x + s) * a.stride + tap - a.padding;
                    if (from.x >= a.from_width) continue;
                    add_tap(strip.at[s], weight, a.from, index_of(from, a.from_height, a.from_width, a.columns));
                }
            }
        }
        put_strip(&a, spot, strip);
    }
}

// The gradient of the map from that of the result, which is `from` here.
KERNEL(depthwise_gradient, Depthwise) {
    EACH_STRIP(index, a) {
        Spot spot = spot_of(index, a.height, strips_of(a.width), a.columns), from = spot;
        spot.x *= STRIP;
        Strip strip = biases(&a, spot.column);
        for (unsigned row = 0; row < a.kernel; row++) {
            const unsigned y = spot.y + a.padding - row;
            from.y = y / a.stride;
            if (y % a.stride || from.y >= a.from_height) continue;
            for (unsigned tap = 0; tap < a.kernel; tap++) {
                const Pack weight = pack_at(a.weight, (row * a.kernel + tap) * a.columns + spot.column);
                for (unsigned s = 0; s < STRIP; s++) {
                    const unsigned x = spot.x + s + a.padding - tap;
                    from.x = x / a.stride;
                    if (x % a.stride || from.x >= a.from_width) continue;
                    add_tap(strip.at[s], weight, a.from, index_of(from, a.from_height, a.from_width, a.columns));
                }
            }
        }
        put_strip(&a, spot, strip);
    }
}

typedef struct {
    const Number *from, *gradient;
    Real *parts;                             // [parts, K, K, C]
    unsigned batch, height, width, channels; // of the gradient
    unsigned from_height, from_width, kernel, stride, padding;
} DepthwiseWeight;

// The gradient of the weights, in parts: a block is for one row of weights and one part of the pixels.
KERNEL(depthwise_weight, DepthwiseWeight) {
    const Place place = place_over(a.channels);
    const unsigned row = blockIdx.x % a.kernel, part = blockIdx.x / a.kernel, parts = gridDim.x / a.kernel;
    const unsigned pixels = a.batch * a.height * a.width;
    EACH_COLUMN(place, column, busy) {
        Real sums[MOST_TAPS][PACK];
        for (unsigned tap = 0; tap < MOST_TAPS; tap++) {
            for (unsigned k = 0; k < PACK; k++) sums[tap][k] = 0;
        }
        for (unsigned pixel = part * place.rows + place.row; busy && pixel < pixels; pixel += parts * place.rows) {
            const Spot spot = spot_of(pixel, a.height, a.width, 1);
            const unsigned y = spot.y * a.stride + row - a.padding;
            if (y >= a.from_height) continue;
            const Pack gradient = pack_at(a.gradient, pixel * place.columns + column);
            for (unsigned tap = 0; tap < MOST_TAPS; tap++) {
                const unsigned x = spot.x * a.stride + tap - a.padding;
                if (tap >= a.kernel || x >= a.from_width) continue;
                const unsigned from = (spot.image * a.from_height + y) * a.from_width + x;
                add_tap(sums[tap], gradient, a.from, from * place.columns + column);
            }
        }
        for (unsigned tap = 0; tap < MOST_TAPS; tap += 2) {
            if (tap >= a.kernel) break;
            Sums pair = no_sums();
            for (unsigned k = 0; k < PACK; k++) {
                pair.at[0][k] = sums[tap][k];
                if (tap + 1 < MOST_TAPS) pair.at[1][k] = sums[tap + 1][k];
            }
            pair = summed_rows(place, pair);
            for (unsigned second = 0; second < 2; second++) {
                if (!busy || place.row > 0 || tap + second >= a.kernel) continue;
                const unsigned at = ((part * a.kernel + row) * a.kernel + tap + second) * a.channels + column * PACK;
                for (unsigned k = 0; k < PACK; k++) a.parts[at + k] = pair.at[second][k];
            }
        }
    }
}

typedef struct {
    const Real *parts;
    Real *weight; // [C, K, K]
    unsigned count, taps, channels; // parts; taps of a channel
} DepthwiseSum;

// Adds up the parts.
KERNEL(depthwise_weight_sum, DepthwiseSum) {
    const unsigned numbers = a.taps * a.channels;
    for (unsigned index = blockIdx.x * BLOCK + threadIdx.x; index < numbers; index += gridDim.x * BLOCK) {
        double sum = 0;
        for (unsigned part = 0; part < a.count; part++) sum += a.parts[part * numbers + index];
        a.weight[index % a.channels * a.taps + index / a.channels] = (Real)sum;
    }
}
