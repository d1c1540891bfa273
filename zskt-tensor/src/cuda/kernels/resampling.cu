// Upsampling and pooling. "small" is the map with the fewer pixels, "large" the one with the more; each pixel of the small
// one is a factor × factor square of the large one, whose rows and columns may have a rest that belongs to no square.

typedef struct {
    const Number *from, *other, *plus;
    Number *to;
    unsigned batch, height, width, columns; // of the small map, and its packs per pixel
    unsigned factor, large_height, large_width;
    Real scale;
} Resample;

typedef struct { unsigned image, y, x, column; } Spot;

INLINE Spot spot_of(unsigned index, unsigned height, unsigned width, unsigned columns) {
    Spot spot;
    spot.column = index % columns;
    index /= columns;
    spot.x = index % width;
    index /= width;
    spot.y = index % height;
    spot.image = index / height;
    return spot;
}

INLINE unsigned index_of(Spot spot, unsigned height, unsigned width, unsigned columns) {
    return ((spot.image * height + spot.y) * width + spot.x) * columns + spot.column;
}

INLINE void put_plus(const Number *plus, Number *to, unsigned index, const Real *values) {
    Pack out;
    for (unsigned k = 0; k < PACK; k++) {
        out.at[k] = rounded(plus ? values[k] + load(plus[index * PACK + k]) : values[k]);
    }
    put_pack(to, index, out);
}

// Each pixel of the large map is scale times that of the small one, and zero in the rest.
KERNEL(enlarge, Resample) {
    EACH_PACK(index, a.batch * a.large_height * a.large_width * a.columns) {
        Spot spot = spot_of(index, a.large_height, a.large_width, a.columns);
        spot.y /= a.factor;
        spot.x /= a.factor;
        Real values[PACK];
        for (unsigned k = 0; k < PACK; k++) values[k] = 0;
        if (spot.y < a.height && spot.x < a.width) {
            const Pack from = pack_at(a.from, index_of(spot, a.height, a.width, a.columns));
            for (unsigned k = 0; k < PACK; k++) values[k] = a.scale * load(from.at[k]);
        }
        put_plus(a.plus, a.to, index, values);
    }
}

// Each pixel of the small map is scale times the sum of its square.
KERNEL(gather, Resample) {
    EACH_PACK(index, a.batch * a.height * a.width * a.columns) {
        const Spot spot = spot_of(index, a.height, a.width, a.columns);
        Real values[PACK];
        for (unsigned k = 0; k < PACK; k++) values[k] = 0;
        for (unsigned pixel = 0; pixel < a.factor * a.factor; pixel++) {
            Spot large = spot;
            large.y = spot.y * a.factor + pixel / a.factor;
            large.x = spot.x * a.factor + pixel % a.factor;
            const Pack from = pack_at(a.from, index_of(large, a.large_height, a.large_width, a.columns));
            for (unsigned k = 0; k < PACK; k++) values[k] += load(from.at[k]);
        }
        for (unsigned k = 0; k < PACK; k++) values[k] *= a.scale;
        put_plus(a.plus, a.to, index, values);
    }
}

// Each pixel of the small map is the largest of its square.
KERNEL(largest, Resample) {
    EACH_PACK(index, a.batch * a.height * a.width * a.columns) {
        const Spot spot = spot_of(index, a.height, a.width, a.columns);
        Real values[PACK];
        for (unsigned pixel = 0; pixel < a.factor * a.factor; pixel++) {
            Spot large = spot;
            large.y = spot.y * a.factor + pixel / a.factor;
            large.x = spot.x * a.factor + pixel % a.factor;
            const Pack from = pack_at(a.from, index_of(large, a.large_height, a.large_width, a.columns));
            for (unsigned k = 0; k < PACK; k++) {
                const Real value = load(from.at[k]);
                if (pixel == 0 || value > values[k] || value != value) values[k] = value;
            }
        }
        put_plus(a.plus, a.to, index, values);
    }
}

// The gradient of the large map (other) from that of the small one: it goes to the first of the largest in each square.
KERNEL(largest_gradient, Resample) {
    EACH_PACK(index, a.batch * a.large_height * a.large_width * a.columns) {
        const Spot own = spot_of(index, a.large_height, a.large_width, a.columns);
        Spot small = own;
        small.y /= a.factor;
        small.x /= a.factor;
        Real values[PACK];
        for (unsigned k = 0; k < PACK; k++) values[k] = 0;
        if (small.y < a.height && small.x < a.width) {
            const Pack from = pack_at(a.from, index_of(small, a.height, a.width, a.columns));
            const Pack mine = pack_at(a.other, index);
            for (unsigned k = 0; k < PACK; k++) values[k] = load(from.at[k]);
            for (unsigned pixel = 0; pixel < a.factor * a.factor; pixel++) {
                Spot large = small;
                large.y = small.y * a.factor + pixel / a.factor;
                large.x = small.x * a.factor + pixel % a.factor;
                const Pack others = pack_at(a.other, index_of(large, a.large_height, a.large_width, a.columns));
                const unsigned earlier = large.y < own.y || (large.y == own.y && large.x < own.x);
                for (unsigned k = 0; k < PACK; k++) {
                    const Real value = load(others.at[k]), own_value = load(mine.at[k]);
                    if (value > own_value || (earlier && value == own_value)) values[k] = 0;
                }
            }
        }
        put_plus(a.plus, a.to, index, values);
    }
}

// The mean over all pixels of an image, a block each: [B, C].
typedef struct {
    const Number *x;
    Real *mean;
    unsigned pixels, channels;
} Average;

KERNEL(average, Average) {
    const Place place = place_over(a.channels);
    EACH_COLUMN(place, column, busy) {
        Sums sums = no_sums();
        if (busy) {
            for (unsigned pixel = place.row; pixel < a.pixels; pixel += place.rows) {
                const Pack x = pack_at(a.x, (blockIdx.x * a.pixels + pixel) * place.columns + column);
                for (unsigned k = 0; k < PACK; k++) sums.at[0][k] += load(x.at[k]);
            }
        }
        sums = summed_rows(place, sums);
        if (busy && place.row == 0) {
            for (unsigned k = 0; k < PACK; k++) {
                a.mean[blockIdx.x * a.channels + column * PACK + k] = sums.at[0][k] / a.pixels;
            }
        }
    }
}

typedef struct {
    const Real *gradient;
    const Number *plus;
    Number *of_x;
    unsigned packs, pixels, columns; // all packs; pixels of an image, packs of a pixel
} AverageGradient;

KERNEL(average_gradient, AverageGradient) {
    EACH_PACK(index, a.packs) {
        const unsigned image = index / a.columns / a.pixels, column = index % a.columns;
        Real values[PACK];
        for (unsigned k = 0; k < PACK; k++) {
            values[k] = a.gradient[(image * a.columns + column) * PACK + k] / a.pixels;
        }
        put_plus(a.plus, a.of_x, index, values);
    }
}
