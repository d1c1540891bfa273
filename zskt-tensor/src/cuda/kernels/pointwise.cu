// Activations, sums of maps, biases.

typedef struct {
    const Number *x;
    Number *y;
    unsigned packs;
    Real slope;
} Activate;

KERNEL(activate, Activate) {
    EACH_PACK(index, a.packs) {
        Pack x = pack_at(a.x, index);
        for (unsigned k = 0; k < PACK; k++) x.at[k] = rounded(activated(load(x.at[k]), a.slope));
        put_pack(a.y, index, x);
    }
}

typedef struct {
    const Number *x, *gradient, *plus;
    Number *of_x;
    unsigned packs;
    Real slope;
} ActivateGradient;

KERNEL(activate_gradient, ActivateGradient) {
    EACH_PACK(index, a.packs) {
        const Pack x = pack_at(a.x, index);
        Pack out = pack_at(a.gradient, index);
        for (unsigned k = 0; k < PACK; k++) {
            Real g = load(x.at[k]) > 0 ? load(out.at[k]) : a.slope * load(out.at[k]);
            if (a.plus) g += load(a.plus[index * PACK + k]);
            out.at[k] = rounded(g);
        }
        put_pack(a.of_x, index, out);
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

// In place: x plus a number per channel.
typedef struct {
    Number *x;
    const Real *bias;
    unsigned pixels, channels;
} AddBias;

KERNEL(add_bias, AddBias) {
    const Place place = place_over(a.channels);
    EACH_COLUMN(place, column, busy) {
        if (!busy) continue;
        Real bias[PACK];
        for (unsigned k = 0; k < PACK; k++) bias[k] = a.bias[column * PACK + k];
        EACH_PIXEL(place, pixel, a.pixels) {
            Pack x = pack_at(a.x, pixel * place.columns + column);
            for (unsigned k = 0; k < PACK; k++) x.at[k] = rounded(load(x.at[k]) + bias[k]);
            put_pack(a.x, pixel * place.columns + column, x);
        }
    }
}

// Sums over the pixels, the gradient of a bias; the second sums are zero.
typedef struct {
    const Number *gradient;
    Real *partial;
    unsigned pixels, channels;
} BiasSums;

KERNEL(bias_sums, BiasSums) {
    const Place place = place_over(a.channels);
    EACH_COLUMN(place, column, busy) {
        Sums sums = no_sums();
        if (busy) {
            EACH_PIXEL(place, pixel, a.pixels) {
                const Pack gradient = pack_at(a.gradient, pixel * place.columns + column);
                for (unsigned k = 0; k < PACK; k++) sums.at[0][k] += load(gradient.at[k]);
            }
        }
        put_sums(place, column, busy, sums, a.partial + blockIdx.x * 2 * a.channels, a.channels);
    }
}

typedef struct {
    const Real *partial;
    Real *of_bias;
    unsigned blocks, channels;
} FinishBias;

KERNEL(finish_bias, FinishBias) {
    const Totals totals = summed_blocks(a.partial, a.blocks, a.channels);
    const unsigned channel = blockIdx.x * FINISHED + threadIdx.x;
    if (threadIdx.x < FINISHED && channel < a.channels) a.of_bias[channel] = (Real)totals.first;
}
