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
    for (unsigned k = 0; k < PACK; k++) out.at[k] = rounded(values[k]);
    if (plus) {
        out = pack_at(plus, index);
        for (unsigned k = 0; k < PACK; k++) out.at[k] = rounded(values[k] + load(out.at[k]));
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

// How windows lie along an axis; those of size 0 cover it, the i-th of n from floor(i · input / n) to ceil((i + 1) · input / n).
typedef struct { unsigned input, output, size, stride, before, count_padding; } Axis;

typedef struct { unsigned begin, end; } Range;

// The pixels of a window that are in the map.
INLINE Range window_at(Axis axis, unsigned at) {
    Range window;
    if (axis.size == 0) {
        window.begin = (unsigned)((unsigned long long)at * axis.input / axis.output);
        window.end = (unsigned)(((unsigned long long)(at + 1) * axis.input + axis.output - 1) / axis.output);
    } else {
        const unsigned begin = at * axis.stride, end = begin + axis.size;
        window.begin = begin > axis.before ? begin - axis.before : 0;
        window.end = end - axis.before < axis.input ? end - axis.before : axis.input;
    }
    return window;
}

// The windows that a pixel is in.
INLINE Range windows_of(Axis axis, unsigned at) {
    Range windows;
    if (axis.size == 0) {
        windows.begin = (unsigned)((unsigned long long)at * axis.output / axis.input);
        windows.end = (unsigned)(((unsigned long long)(at + 1) * axis.output + axis.input - 1) / axis.input);
    } else {
        const unsigned last = (at + axis.before) / axis.stride;
        windows.begin = at + axis.before < axis.size ? 0 : (at + axis.before - axis.size) / axis.stride + 1;
        windows.end = last < axis.output ? last + 1 : axis.output;
    }
    return windows;
}

// How many pixels of a window count for its mean.
INLINE unsigned counted(Axis axis, unsigned at) {
    const Range window = window_at(axis, at);
    return axis.size > 0 && axis.count_padding ? axis.size : window.end - window.begin;
}

typedef struct {
    const Number *from, *other, *plus;
    Number *to;
    unsigned batch, columns; // packs of a pixel
    Axis rows, across;
} Pool;

// Each pixel is the largest of its window.
KERNEL(largest, Pool) {
    EACH_PACK(index, a.batch * a.rows.output * a.across.output * a.columns) {
        const Spot spot = spot_of(index, a.rows.output, a.across.output, a.columns);
        const Range rows = window_at(a.rows, spot.y), across = window_at(a.across, spot.x);
        Real values[PACK];
        for (unsigned k = 0; k < PACK; k++) values[k] = 0;
        Spot large = spot;
        for (large.y = rows.begin; large.y < rows.end; large.y++) {
            for (large.x = across.begin; large.x < across.end; large.x++) {
                const unsigned first = large.y == rows.begin && large.x == across.begin;
                const Pack from = pack_at(a.from, index_of(large, a.rows.input, a.across.input, a.columns));
                for (unsigned k = 0; k < PACK; k++) {
                    const Real value = load(from.at[k]);
                    if (first || value > values[k] || value != value) values[k] = value;
                }
            }
        }
        put_plus(a.plus, a.to, index, values);
    }
}

// The gradient of the map (other) from that of its largest: it goes to the first of the largest in each window.
KERNEL(largest_gradient, Pool) {
    EACH_PACK(index, a.batch * a.rows.input * a.across.input * a.columns) {
        const Spot own = spot_of(index, a.rows.input, a.across.input, a.columns);
        const Pack mine = pack_at(a.other, index);
        const Range up = windows_of(a.rows, own.y), left = windows_of(a.across, own.x);
        Real values[PACK];
        for (unsigned k = 0; k < PACK; k++) values[k] = 0;
        Spot small = own;
        for (small.y = up.begin; small.y < up.end; small.y++) {
            for (small.x = left.begin; small.x < left.end; small.x++) {
                const Range rows = window_at(a.rows, small.y), across = window_at(a.across, small.x);
                const Pack from = pack_at(a.from, index_of(small, a.rows.output, a.across.output, a.columns));
                Real passed[PACK];
                for (unsigned k = 0; k < PACK; k++) passed[k] = load(from.at[k]);
                Spot large = own;
                for (large.y = rows.begin; large.y < rows.end; large.y++) {
                    for (large.x = across.begin; large.x < across.end; large.x++) {
                        const Pack others = pack_at(a.other, index_of(large, a.rows.input, a.across.input, a.columns));
                        const unsigned earlier = large.y < own.y || (large.y == own.y && large.x < own.x);
                        for (unsigned k = 0; k < PACK; k++) {
                            const Real value = load(others.at[k]), own_value = load(mine.at[k]);
                            if (value > own_value || (earlier && value == own_value)) passed[k] = 0;
                        }
                    }
                }
                for (unsigned k = 0; k < PACK; k++) values[k] += passed[k];
            }
        }
        put_plus(a.plus, a.to, index, values);
    }
}

// Each pixel is the mean of its window.
KERNEL(mean, Pool) {
    EACH_PACK(index, a.batch * a.rows.output * a.across.output * a.columns) {
        const Spot spot = spot_of(index, a.rows.output, a.across.output, a.columns);
        const Range rows = window_at(a.rows, spot.y), across = window_at(a.across, spot.x);
        Real values[PACK];
        for (unsigned k = 0; k < PACK; k++) values[k] = 0;
        Spot large = spot;
        for (large.y = rows.begin; large.y < rows.end; large.y++) {
            for (large.x = across.begin; large.x < across.end; large.x++) {
                const Pack from = pack_at(a.from, index_of(large, a.rows.input, a.across.input, a.columns));
                for (unsigned k = 0; k < PACK; k++) values[k] += load(from.at[k]);
            }
        }
        const Real scale = 1 / ((Real)counted(a.rows, spot.y) * counted(a.across, spot.x));
        for (unsigned k = 0; k < PACK; k++) values[k] *= scale;
        put_plus(a.plus, a.to, index, values);
    }
}

// The gradient of the map from that of its means.
KERNEL(mean_gradient, Pool) {
    EACH_PACK(index, a.batch * a.rows.input * a.across.input * a.columns) {
        const Spot own = spot_of(index, a.rows.input, a.across.input, a.columns);
        const Range up = windows_of(a.rows, own.y), left = windows_of(a.across, own.x);
        Real values[PACK];
        for (unsigned k = 0; k < PACK; k++) values[k] = 0;
        Spot small = own;
        for (small.y = up.begin; small.y < up.end; small.y++) {
            for (small.x = left.begin; small.x < left.end; small.x++) {
                const Pack from = pack_at(a.from, index_of(small, a.rows.output, a.across.output, a.columns));
                const Real scale = 1 / ((Real)counted(a.rows, small.y) * counted(a.across, small.x));
                for (unsigned k = 0; k < PACK; k++) values[k] += scale * load(from.at[k]);
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
