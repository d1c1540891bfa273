// Gradients of weights: over all pixels, the products of the gradient of the result (transposed) and the input, shifted by each tap.
// A block has OUTPUTS × INPUTS channels with all taps, and goes through every blocks()-th tile of pixels; its warps have 16 × 16
// channels each, and share the pixels of a tile where there are fewer of these than warps. What they sum to is added up in a fixed
// order, first in the block, then, over the blocks, by add_up, of many convolutions at once.

// AHEAD: the next tile is fetched to registers while this one is multiplied.
template <class Number, int CI_, int CO_, int SIDE_, int STRIDE_, int UP_, int IMAGES_, int ROWS_, int COLUMNS_, int OUTPUTS_, int INPUTS_, bool AHEAD_, int RESIDENT_ = 1>
struct WeightShape {
    static constexpr int CI = CI_, CO = CO_, SIDE = SIDE_, STRIDE = STRIDE_, UP = UP_, IMAGES = IMAGES_, ROWS = ROWS_, COLUMNS = COLUMNS_;
    static constexpr int OUTPUTS = OUTPUTS_, INPUTS = INPUTS_, RESIDENT = RESIDENT_, TAPS = SIDE * SIDE;
    static constexpr bool AHEAD = AHEAD_;
    static constexpr int PLANES = Numbers<Number>::PLANES;
    static constexpr int DOWN = OUTPUTS / 16, ACROSS = INPUTS / 16, UNITS = DOWN * ACROSS, DEEP = WARPS / UNITS; // warps
    static constexpr int STEPS = IMAGES * ROWS * COLUMNS / 16;
    static_assert(UNITS * DEEP == WARPS && STEPS % DEEP == 0 && COLUMNS % 8 == 0);
    using Input = typename Footprint<PLANES, INPUTS, SIDE, STRIDE, UP, IMAGES, ROWS, COLUMNS>::Pixels;
    using Output = Tile<PLANES, IMAGES, ROWS, COLUMNS, OUTPUTS>;
    static constexpr int OUTPUT = Input::BYTES, SHARED = at_least(DEEP > 1 ? WARPS / 2 * TAPS * 1024 : 0, OUTPUT + Output::BYTES);
};

template <class Input, class Output> struct WeightGradient {
    typename Input::Arguments input;
    typename Output::Arguments output;
    float *partial; // [blocks][CO][SIDE · SIDE][CI]
    Map in, out;
};

// Adds up the products of the warps that share a unit; those that are the first of it have the sum.
template <class S> DEVICE void add_warps(float (&products)[S::TAPS][2][4], int deep, int unit, int lane) {
    UNROLL(1)
    for (int half = S::DEEP / 2; half > 0; half /= 2) {
        const unsigned at = ((deep % half) * S::UNITS + unit) * S::TAPS * 1024 + lane * 16;
        if (deep >= half && deep < 2 * half) {
            UNROLL(18)
            for (int j = 0; j < S::TAPS * 2; j++) {
                const float *p = products[j / 2][j % 2];
                shared_store_pair(at + j * 512, p[0], p[1]);
                shared_store_pair(at + j * 512 + 8, p[2], p[3]);
            }
        }
        barrier();
        if (deep < half) {
            UNROLL(18)
            for (int j = 0; j < S::TAPS * 2; j++) {
                const Quad q = shared_load(at + j * 512);
                UNROLL(4)
                for (int k = 0; k < 4; k++) products[j / 2][j % 2][k] += as_float(q.at[k]);
            }
        }
        barrier();
    }
}
// 16 × 16 channels, from `output` and `input` on, to [CO][TAPS][CI].
template <class S> DEVICE void put_weights(const float (&products)[S::TAPS][2][4], float *partial, int output, int input, int lane) {
    UNROLL(18)
    for (int j = 0; j < S::TAPS * 2; j++) {
        const int tap = j / 2, ci = input + j % 2 * 8 + lane % 4 * 2;
        UNROLL(2)
        for (int half = 0; half < 2; half++) {
            const int co = output + lane / 4 + half * 8;
            if (S::CO % 16 != 0 && co >= S::CO) continue;
            float *to = partial + co * (S::TAPS * S::CI) + tap * S::CI + ci;
            const float *p = products[tap][j % 2] + half * 2;
            if constexpr (S::CI % 16 == 0) {
                store_pair(to, p[0], p[1]);
            } else {
                if (ci < S::CI) store(to, p[0]);
                if (ci + 1 < S::CI) store(to + 1, p[1]);
            }
        }
    }
}

template <class S, class Input, class Output> DEVICE void weight_gradient(const WeightGradient<Input, Output> &a) {
    using I = typename S::Input;
    using O = typename S::Output;
    const int thread = thread_index(), lane = thread % 32, warp = thread / 32;
    const int across = warp % S::ACROSS, down = warp / S::ACROSS % S::DOWN, deep = warp / S::UNITS;
    constexpr int INPUT_TILES = quotient_up(S::CI, S::INPUTS);
    const int input_channel = block_row() % INPUT_TILES * S::INPUTS, output_channel = block_row() / INPUT_TILES * S::OUTPUTS;
    const unsigned tall = (a.out.height + S::ROWS - 1) / S::ROWS, wide = (a.out.width + S::COLUMNS - 1) / S::COLUMNS;
    const unsigned tiles = (a.out.batch + S::IMAGES - 1) / S::IMAGES * tall * wide;
    const auto of_output = [&](unsigned tile) {
        return Place{tile / (tall * wide) * S::IMAGES, (int)(tile / wide % tall) * S::ROWS, (int)(tile % wide) * S::COLUMNS};
    };
    const auto of_input = [&](const Place &place) {
        constexpr int EDGE = S::SIDE == 3;
        return Place{place.image, place.row * S::STRIDE / S::UP - EDGE, place.column * S::STRIDE / S::UP - EDGE};
    };
    const Input input = Input::of(a.input, input_channel + thread % I::GROUPS * EIGHT);
    // What it knows of its channels is loaded where it is needed: registers are scarce while products are summed.
    const auto output = [&] { return Output::of(a.output, output_channel + thread % O::GROUPS * EIGHT); };
    const bool keeps = block_row() % INPUT_TILES == 0;

    float products[S::TAPS][2][4] = {};
    typename Input::Raw next_input[S::AHEAD ? I::MOST : 1];
    typename Output::Raw next_output[S::AHEAD ? O::MOST : 1];
    const auto next = [&](unsigned tile) {
        if constexpr (S::AHEAD) {
            const Place place = of_output(tile);
            fetch<O, O::MOST>(next_output, output(), a.out, place, Walk<O>::begin());
            fetch<I, I::MOST>(next_input, input, a.in, of_input(place), Walk<I>::begin());
        }
    };
    next(block_index());
    UNROLL(1)
    for (unsigned tile = block_index(); tile < tiles; tile += blocks()) {
        const Place place = of_output(tile);
        if constexpr (S::AHEAD) {
            put<O, O::MOST>(next_output, output(), a.out, place, Walk<O>::begin(), S::OUTPUT, keeps);
            put<I, I::MOST>(next_input, input, a.in, of_input(place), Walk<I>::begin(), 0, false);
        } else {
            bring<O, 2 / S::PLANES>(output(), a.out, place, S::OUTPUT, keeps);
            bring<I, 2 / S::PLANES>(input, a.in, of_input(place), 0, false);
            copies_end();
            copies_wait<0>();
        }
        barrier();
        if (tile + blocks() < tiles) next(tile + blocks());
        UNROLL(1)
        for (int step = deep; step < S::STEPS; step += S::DEEP) {
            const int first = step * 16;
            Quad g[S::PLANES];
            UNROLL(2)
            for (int plane = 0; plane < S::PLANES; plane++) {
                g[plane] = matrices_transposed(S::OUTPUT + (first + lane % 8 + lane / 16 * 8) * O::PITCH + (down * 16 + lane / 8 % 2 * 8) * 2 + plane * O::PLANE);
            }
            const int pixel = first + lane % 16, column = pixel % S::COLUMNS, row = pixel / S::COLUMNS % S::ROWS, image = pixel / S::COLUMNS / S::ROWS;
            const int channels = (across * 16 + lane / 16 * 8) * 2;
            const int at = ((image * I::ROWS + row * (I::EVEN ? 2 : 1)) * I::COLUMNS + column) * I::PITCH + channels;
            UNROLL(9)
            for (int tap = 0; tap < S::TAPS; tap++) {
                const int dy = tap / S::SIDE, dx = tap % S::SIDE;
                UNROLL(2)
                for (int plane = 0; plane < S::PLANES; plane++) {
                    Quad x;
                    if constexpr (S::UP == 2) {
                        x = matrices_transposed(((image * I::ROWS + (row + dy + 1) / 2) * I::COLUMNS + (column + dx + 1) / 2) * I::PITCH + channels + plane * I::PLANE);
                    } else {
                        x = matrices_transposed(at + I::offset(dy, dx) + plane * I::PLANE);
                    }
                    UNROLL(2)
                    for (int other = 0; other + plane < S::PLANES; other++) {
                        multiply(products[tap][0], g[other], x.at[0], x.at[1]);
                        multiply(products[tap][1], g[other], x.at[2], x.at[3]);
                    }
                }
            }
        }
        barrier();
    }

    if constexpr (S::DEEP > 1) add_warps<S>(products, deep, warp % S::UNITS, lane);
    if (deep == 0) put_weights<S>(products, a.partial + (size_t)block_index() * S::CO * S::TAPS * S::CI, output_channel + down * 16, input_channel + across * 16, lane);
}
