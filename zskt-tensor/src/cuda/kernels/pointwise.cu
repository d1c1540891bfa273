// Activations, sums of maps, biases.

typedef struct {
    const Number *x;
    Number *y;
    unsigned packs;
    Real slope, limit;
} Activate;

KERNEL(activate, Activate) {
    EACH_PACK(index, a.packs) {
        Pack x = pack_at(a.x, index);
        for (unsigned k = 0; k < PACK; k++) x.at[k] = rounded(activated(load(x.at[k]), a.slope, a.limit));
        put_pack(a.y, index, x);
    }
}

typedef struct {
    const Number *x, *gradient, *plus;
    Number *of_x;
    unsigned packs;
    Real slope, limit;
} ActivateGradient;

KERNEL(activate_gradient, ActivateGradient) {
    EACH_PACK(index, a.packs) {
        const Pack x = pack_at(a.x, index);
        Pack out = pack_at(a.gradient, index);
        for (unsigned k = 0; k < PACK; k++) {
            Real g = through_activation(load(x.at[k]), load(out.at[k]), a.slope, a.limit);
            if (a.plus) g += load(a.plus[index * PACK + k]);
            out.at[k] = rounded(g);
        }
        put_pack(a.of_x, index, out);
    }
}

// Activations that are no rectifiers: alpha · x + beta between two bounds, or one that needs no constants; perhaps times x.
#define SIGMOID 1
#define TANH 2
#define NORMAL 3
typedef struct {
    Real alpha, beta, low, high;
    unsigned gate, times_x;
} Curve;

typedef struct { Real y, slope; } CurveAt;

INLINE CurveAt curve_at(Curve curve, Real x) {
    CurveAt at;
    if (curve.gate == SIGMOID) {
        at.y = 1 / (1 + EXP(-x));
        at.slope = at.y * (1 - at.y);
    } else if (curve.gate == TANH) {
        at.y = HYPERBOLIC_TANGENT(x);
        at.slope = 1 - at.y * at.y;
    } else if (curve.gate == NORMAL) {
        // The normal distribution, and its density.
        at.y = (Real)0.5 * (1 + ERROR_FUNCTION(x * (Real)0.70710678118654752));
        at.slope = (Real)0.39894228040143268 * EXP((Real)-0.5 * x * x);
    } else {
        at.y = PRODUCT(curve.alpha, x) + curve.beta;
        at.slope = at.y > curve.low && at.y < curve.high ? curve.alpha : 0;
        at.y = at.y < curve.low ? curve.low : at.y > curve.high ? curve.high : at.y;
    }
    if (curve.times_x) {
        at.slope = at.y + x * at.slope;
        at.y *= x;
    }
    return at;
}

typedef struct {
    const Number *x;
    Number *y;
    unsigned packs;
    Curve curve;
} ApplyCurve;

KERNEL(apply_curve, ApplyCurve) {
    EACH_PACK(index, a.packs) {
        Pack x = pack_at(a.x, index);
        for (unsigned k = 0; k < PACK; k++) x.at[k] = rounded(curve_at(a.curve, load(x.at[k])).y);
        put_pack(a.y, index, x);
    }
}

typedef struct {
    const Number *x, *gradient, *plus;
    Number *of_x;
    unsigned packs;
    Curve curve;
} CurveGradient;

KERNEL(curve_gradient, CurveGradient) {
    EACH_PACK(index, a.packs) {
        const Pack x = pack_at(a.x, index);
        Pack out = pack_at(a.gradient, index);
        for (unsigned k = 0; k < PACK; k++) {
            Real g = curve_at(a.curve, load(x.at[k])).slope * load(out.at[k]);
            if (a.plus) g += load(a.plus[index * PACK + k]);
            out.at[k] = rounded(g);
        }
        put_pack(a.of_x, index, out);
    }
}

// The product with a map of the same shape, or with one factor for each channel of each image, or of all.
typedef struct {
    const Number *x, *factor, *plus;
    Number *product;
    unsigned packs, columns; // of all images; of a pixel
    unsigned pixels, images; // for which a pixel of the factor stands; of the factor
} Product;

KERNEL(product, Product) {
    EACH_PACK(index, a.packs) {
        const unsigned pixel = index / a.columns / a.pixels % a.images, column = index % a.columns;
        const Pack factor = pack_at(a.factor, pixel * a.columns + column);
        Pack x = pack_at(a.x, index);
        for (unsigned k = 0; k < PACK; k++) {
            Real product = load(x.at[k]) * load(factor.at[k]);
            if (a.plus) product += load(a.plus[index * PACK + k]);
            x.at[k] = rounded(product);
        }
        put_pack(a.product, index, x);
    }
}

// The gradient of such factors, a block for each image that they have: sums over the pixels of the products of two maps.
typedef struct {
    const Number *x, *y, *plus;
    Number *sums;
    unsigned pixels, images, channels; // of a factor's image: pixels of the map, and its images; their distance is that of blocks
} ProductSums;

KERNEL(product_sums, ProductSums) {
    const Place place = place_over(a.channels);
    EACH_COLUMN(place, column, busy) {
        Sums sums = no_sums();
        if (busy) {
            for (unsigned pixel = place.row; pixel < a.pixels * a.images; pixel += place.rows) {
                const unsigned index = (blockIdx.x * a.pixels * a.images + pixel) * place.columns + column;
                const Pack x = pack_at(a.x, index), y = pack_at(a.y, index);
                for (unsigned k = 0; k < PACK; k++) sums.at[0][k] += load(x.at[k]) * load(y.at[k]);
            }
        }
        sums = summed_rows(place, sums);
        if (busy && place.row == 0) {
            const unsigned index = blockIdx.x * place.columns + column;
            Pack out;
            for (unsigned k = 0; k < PACK; k++) {
                Real sum = sums.at[0][k];
                if (a.plus) sum += load(a.plus[index * PACK + k]);
                out.at[k] = rounded(sum);
            }
            put_pack(a.sums, index, out);
        }
    }
}

typedef struct {
    const Number *x, *y;
    Number *sum;
    unsigned packs;
} Sum;

KERNEL(sum, Sum) {
    EACH_PACK(index, a.packs) {
        Pack x = pack_at(a.x, index);
        const Pack y = pack_at(a.y, index);
        for (unsigned k = 0; k < PACK; k++) x.at[k] = rounded(load(x.at[k]) + load(y.at[k]));
        put_pack(a.sum, index, x);
    }
}

// Between the numbers of maps and of tensors.
typedef struct {
    const Real *from;
    Number *to;
    unsigned packs;
} Narrow;

KERNEL(narrow, Narrow) {
    EACH_PACK(index, a.packs) {
        const RealPack from = ((const RealPack *)a.from)[index];
        Pack to;
        for (unsigned k = 0; k < PACK; k++) to.at[k] = rounded(from.at[k]);
        put_pack(a.to, index, to);
    }
}

typedef struct {
    const Number *from;
    Real *to;
    unsigned packs;
} Widen;

KERNEL(widen, Widen) {
    EACH_PACK(index, a.packs) {
        const Pack from = pack_at(a.from, index);
        RealPack to;
        for (unsigned k = 0; k < PACK; k++) to.at[k] = load(from.at[k]);
        ((RealPack *)a.to)[index] = to;
    }
}

// In place: x plus a number per channel.
typedef struct {
    Number *x;
    const Real *bias;
    unsigned packs, columns; // all packs; of a pixel
} AddBias;

KERNEL(add_bias, AddBias) {
    EACH_PACK(index, a.packs) {
        const Real *bias = a.bias + index % a.columns * PACK;
        Pack x = pack_at(a.x, index);
        for (unsigned k = 0; k < PACK; k++) x.at[k] = rounded(load(x.at[k]) + bias[k]);
        put_pack(a.x, index, x);
    }
}

// Sums over the pixels, the gradient of a bias; the second sums are zero.
typedef struct {
    const Number *gradient;
    Real *partial;
    unsigned *ticket;
    Real *of_bias;
    unsigned pixels, channels;
} BiasSums;

KERNEL(bias_sums, BiasSums) {
    const Place place = place_over(a.channels);
    EACH_COLUMN(place, column, busy) {
        Sums sums = no_sums();
        if (busy) {
            EACH_PIXEL_IN_FLIGHT(place, first, step, a.pixels) {
                Pack gradient[IN_FLIGHT];
                for (unsigned i = 0; i < IN_FLIGHT; i++) {
                    gradient[i] = pack_at(a.gradient, in_flight(first, i, step, a.pixels) * place.columns + column);
                }
                for (unsigned i = 0; i < IN_FLIGHT; i++) {
                    if (first + i * step >= a.pixels) break;
                    for (unsigned k = 0; k < PACK; k++) sums.at[0][k] += load(gradient[i].at[k]);
                }
            }
        }
        put_sums(place, column, busy, sums, a.partial, a.channels);
    }
    if (!is_last_block(a.ticket)) return;
    EACH_FINISHED(first, a.channels) {
        const Totals totals = summed_blocks(a.partial, a.channels, first);
        const unsigned channel = first + threadIdx.x;
        if (threadIdx.x < FINISHED && channel < a.channels) a.of_bias[channel] = (Real)totals.first;
    }
}
