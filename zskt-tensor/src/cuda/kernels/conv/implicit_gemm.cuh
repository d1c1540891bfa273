// Convolutions of maps and the gradients of their inputs, as implicit matrix products on tensor cores. A block computes ROWS ×
// COLUMNS pixels of IMAGES images, CHANNELS channels of them: it brings the pixels they depend on to shared memory once, with all
// channels and with batch norm applied (operand.cuh), and multiplies them, shifted by each tap, with the weights, which are all in
// shared memory (RING = 0) or pass through a ring of RING stages. The epilogue sees eight channels of a pixel at once: lanes exchange
// what they have of these; where pixels are pooled, or there are few channels, the sums go through shared memory.

enum Direction { FORWARD, DATA };

template <bool FIRST, class A, class B> struct Choice { using Type = A; };
template <class A, class B> struct Choice<false, A, B> { using Type = B; };

template <class Number, Direction DIRECTION_, int CI_, int CO_, int SIDE_, int STRIDE_, int UP_, int IMAGES_, int ROWS_, int COLUMNS_, int CHANNELS_, int ACROSS_, int RING_ = 0, int RESIDENT_ = 1>
struct Shape {
    static constexpr Direction DIRECTION = DIRECTION_;
    static constexpr int PLANES = Numbers<Number>::PLANES;
    static constexpr int CI = CI_, CO = CO_, SIDE = SIDE_, STRIDE = STRIDE_, UP = UP_, IMAGES = IMAGES_, ROWS = ROWS_, COLUMNS = COLUMNS_;
    static constexpr int CHANNELS = CHANNELS_, RING = RING_, RESIDENT = RESIDENT_; // RESIDENT: blocks at once on a multiprocessor
    static constexpr bool BACK = DIRECTION == DATA;
    static constexpr int IN = BACK ? CO : CI, OUT = BACK ? CI : CO, TAPS = SIDE * SIDE;
    static constexpr int PADDED = quotient_up(IN, 16) * 16, PIXELS = IMAGES * ROWS * COLUMNS;
    // A gradient behind a stride: pixels by the parity of their row and column, for each class has taps of its own.
    static constexpr int CLASSES = BACK && STRIDE == 2 ? 4 : 1;
    static constexpr bool POOLED = BACK && UP == 2;

    // Warps: ACROSS over pixels, DOWN over channels; of a warp's part, tiles of 16 pixels and of 8 channels.
    static constexpr int ACROSS = ACROSS_, DOWN = WARPS / ACROSS, OF_PIXELS = PIXELS / ACROSS / 16, OF_CHANNELS = CHANNELS / DOWN / 8;
    static_assert(ACROSS * DOWN == WARPS && OF_PIXELS * ACROSS * 16 == PIXELS && OF_CHANNELS * DOWN * 8 == CHANNELS && OF_CHANNELS % 2 == 0);
    static_assert(COLUMNS % 8 == 0 && (UP == 1 || (SIDE == 3 && STRIDE == 1 && ROWS % 2 == 0)));

    using Read = typename Footprint<PLANES, PADDED, SIDE, STRIDE, UP, IMAGES, ROWS, COLUMNS>::Pixels;
    // Of a gradient, every pixel is read: with the edge on one side only where each class has taps of its own.
    static constexpr int EDGE = SIDE == 3 ? 1 : 0, BEYOND = CLASSES > 1 ? EDGE : 2 * EDGE;
    using Gradient = Tile<PLANES, IMAGES, ROWS + BEYOND, COLUMNS + BEYOND, PADDED, 1, 0, (CLASSES > 1 ? 0 : EDGE), ROWS, COLUMNS>;
    using Pixels = typename Choice<BACK, Gradient, Read>::Type;

    // A piece of the weights: a tap, DEPTH channels of the operand, the most up to 64 that divide them.
    static constexpr int DEPTH = 16 * (PADDED % 64 == 0 ? 4 : PADDED % 48 == 0 ? 3 : PADDED % 32 == 0 ? 2 : 1), PIECES_OF_TAP = PADDED / DEPTH, PIECES = TAPS * PIECES_OF_TAP;
    static constexpr int LINES = BACK ? DEPTH : CHANNELS, LENGTH = BACK ? CHANNELS : DEPTH, PLANE = LENGTH * 2, LINE = PLANES * PLANE + 16;
    static constexpr int PIECE = LINES * LINE, STAGES = RING ? RING : PIECES;
    static_assert(!RING || (RING > 1 && RING <= PIECES));

    // Lanes exchange sums. In lines: a warp has pixels of lines one below the other, and reads each for three taps at once.
    static constexpr bool EXCHANGED = !POOLED && OUT % 16 == 0;
    static constexpr int PER_LINE = COLUMNS / 16, OF_LINE = at_least(1, PER_LINE);
    static constexpr bool IN_LINES = SIDE == 3 && RING == 0 && PIECES_OF_TAP == 1 && (BACK ? STRIDE == 1 : STRIDE == 1 && UP == 1) &&
                                     PER_LINE > 0 && ACROSS % OF_LINE == 0 && ROWS % OF_PIXELS == 0;
    static_assert(!EXCHANGED || OF_CHANNELS == 2 || OF_CHANNELS == 4, "four lanes have what one is to have");

    // Neighbouring lanes have neighbouring eights of a pixel in f32, and store them side by side.
    static constexpr bool PAIRED = EXCHANGED && PLANES > 1;

    // What the epilogue sees: of all channels of the block, GROUPS eights, in PARTS by warps.
    static constexpr int GROUPS = at_least(1, at_most(CHANNELS, OUT) / EIGHT), SEEN = GROUPS * EIGHT, PARTS = EXCHANGED ? DOWN : 1;
    static constexpr int ITEMS = PIXELS / (POOLED ? 4 : 1) * GROUPS, ITEMS_OF_THREAD = quotient_up(ITEMS, THREADS);
    static constexpr int BLOCKS_DOWN = quotient_up(OUT, CHANNELS);
    // Items of which what the epilogue reads is fetched before the products.
    static constexpr int EARLY = CLASSES > 1 || ITEMS_OF_THREAD > 4 ? 0 : at_most(PLANES > 1 ? 2 : 4, ITEMS_OF_THREAD);

    static constexpr int SUM_LINE = CHANNELS * 4 + 32, SUMS = EXCHANGED ? 0 : PIXELS * SUM_LINE;
    static constexpr int WEIGHTS = Pixels::BYTES, OPERANDS = WEIGHTS + STAGES * PIECE, STAGED = CLASSES > 1 ? OPERANDS : 0;
    // Of each channel, three constants that the operand and three that the epilogue knows.
    static constexpr int OF_OPERAND = EXCHANGED ? OPERANDS : at_least(OPERANDS, STAGED + SUMS), CONSTANTS = OF_OPERAND + 3 * PADDED * 4, APART = SEEN * 4;
    static constexpr int OVER_PIXELS = CONSTANTS + 3 * APART, SHARED = OVER_PIXELS + BYTES_OF_SUMS<GROUPS>;
    // Taps, and sixteens of a piece's channels, unrolled as far as registers allow.
    static constexpr int UNROLLED = RING || CLASSES > 1 || PADDED > 32 ? 1 : TAPS, STEPS = OF_PIXELS * OF_CHANNELS < 16 ? 4 : 1;

    // Taps by class, and where a class begins.
    DEVICE int tap_row(int tap) { return CLASSES > 1 && SIDE == 3 ? 0x28215 >> 2 * tap & 3 : tap / SIDE; }
    DEVICE int tap_column(int tap) { return CLASSES > 1 && SIDE == 3 ? 0x22161 >> 2 * tap & 3 : tap % SIDE; }
    DEVICE int first_tap(int of_class) { return CLASSES == 1 ? 0 : SIDE == 1 ? (of_class ? 1 : 0) : 0x95310 >> 4 * of_class & 15; }
    DEVICE int end_tap(int of_class) { return CLASSES == 1 ? TAPS : SIDE == 1 ? 1 : 0x95310 >> 4 * (of_class + 1) & 15; }
};

template <class Operand, class Epilogue> struct Convolution {
    typename Operand::Arguments operand;
    const bf16 *weight; // [PLANES][CO][SIDE · SIDE][CI]
    Map in, out;        // of the operand and of the result
    typename Epilogue::Arguments epilogue;
};

// Pieces of the weights, from `first` on, to a stage each.
template <class S> DEVICE void bring_weights(const bf16 *weight, int first, int count, int stage, int channel) {
    constexpr int EIGHTS = S::LENGTH / EIGHT, OF_LINE = S::PLANES * EIGHTS, OF_PIECE = S::LINES * OF_LINE;
    for (int item = thread_index(); item < count * OF_PIECE; item += THREADS) {
        const int piece = first + item / OF_PIECE, line = item / OF_LINE % S::LINES, of_line = item % OF_LINE;
        const int plane = S::PLANES > 1 ? of_line / EIGHTS : 0, eight = of_line - plane * EIGHTS;
        const int tap = S::tap_row(piece / S::PIECES_OF_TAP) * S::SIDE + S::tap_column(piece / S::PIECES_OF_TAP);
        const int depth = piece % S::PIECES_OF_TAP * S::DEPTH + (S::BACK ? line : eight * EIGHT);
        const int wide = channel + (S::BACK ? eight * EIGHT : line);
        const int co = S::BACK ? depth : wide, ci = S::BACK ? wide : depth;
        const unsigned at = S::WEIGHTS + (stage + item / OF_PIECE) * S::PIECE + line * S::LINE + of_line * 16;
        const bool inside = (S::CO % 16 == 0 || co < S::CO) && (S::CI % 16 == 0 || ci < S::CI);
        const bf16 *from = weight + ((plane * S::CO + (inside ? co : 0)) * S::TAPS + tap) * S::CI;
        if constexpr (S::CI % EIGHT == 0) {
            copy_async(at, from + ci, inside);
        } else {
            shared_store(at, inside ? load_eight<S::CI>(from, 0, ci) : Quad{});
        }
    }
}

// Where in shared memory a lane finds its rows of the operand.
template <class S> struct Rows {
    unsigned first[S::OF_PIXELS];
    MEMBER void place(int warp, int lane) {
        static_assert(!S::IN_LINES, "these need but one");
        UNROLL(8)
        for (int i = 0; i < S::OF_PIXELS; i++) {
            const int pixel = (warp * S::OF_PIXELS + i) * 16 + lane % 16;
            const int column = pixel % S::COLUMNS, row = pixel / S::COLUMNS % S::ROWS, image = pixel / S::COLUMNS / S::ROWS;
            if constexpr (S::UP == 2 && !S::BACK) {
                first[i] = image << 16 | row << 8 | column;
            } else {
                first[i] = ((image * S::Pixels::ROWS + row * (S::Pixels::EVEN ? 2 : 1)) * S::Pixels::COLUMNS + column) * S::Pixels::PITCH + lane / 16 * 16;
            }
        }
    }
    MEMBER unsigned at(int i, int lane, int dy, int dx) const {
        if constexpr (S::UP == 2 && !S::BACK) {
            const int image = first[i] >> 16, row = first[i] >> 8 & 255, column = first[i] & 255;
            return ((image * S::Pixels::ROWS + (row + dy + 1) / 2) * S::Pixels::COLUMNS + (column + dx + 1) / 2) * S::Pixels::PITCH + lane / 16 * 16;
        } else if constexpr (S::CLASSES > 1) {
            return first[i] + S::Pixels::offset(S::SIDE == 3 && dy == 0, S::SIDE == 3 && dx == 0);
        } else {
            return first[i] + (S::BACK ? S::Pixels::offset(S::SIDE - 1 - dy, S::SIDE - 1 - dx) : S::Pixels::offset(dy, dx));
        }
    }
};

// Sixteen channels of the operand, from `k` on, by the channels of a warp.
template <class S> DEVICE void bring_fragments(Quad (&b)[S::OF_CHANNELS / 2], unsigned weights, int k, int down, int lane) {
    UNROLL(8)
    for (int j = 0; j < S::OF_CHANNELS / 2; j++) {
        const int channel = (down * S::OF_CHANNELS / 2 + j) * 16;
        if constexpr (S::BACK) {
            b[j] = matrices_transposed(weights + (k + lane % 16) * S::LINE + (channel + lane / 16 * 8) * 2);
        } else {
            b[j] = matrices(weights + (channel + lane % 8 + lane / 16 * 8) * S::LINE + (k + lane / 8 % 2 * 8) * 2);
        }
    }
}
template <class S> DEVICE void multiply_fragments(float (&products)[S::OF_CHANNELS][4], const Quad &a, const Quad (&b)[S::OF_CHANNELS / 2]) {
    UNROLL(8)
    for (int j = 0; j < S::OF_CHANNELS / 2; j++) {
        multiply(products[2 * j], a, b[j].at[0], b[j].at[1]);
        multiply(products[2 * j + 1], a, b[j].at[2], b[j].at[3]);
    }
}
template <class S>
DEVICE void multiply_piece(float (&products)[S::OF_PIXELS][S::OF_CHANNELS][4], const Rows<S> &rows, int dy, int dx, int depth, unsigned weights, int down, int lane) {
    UNROLL(S::STEPS)
    for (int k = 0; k < S::DEPTH; k += 16) {
        UNROLL(2)
        for (int plane = 0; plane < S::PLANES; plane++) {
            Quad b[S::OF_CHANNELS / 2];
            bring_fragments<S>(b, weights + plane * S::PLANE, k, down, lane);
            UNROLL(8)
            for (int i = 0; i < S::OF_PIXELS; i++) {
                UNROLL(2)
                for (int other = 0; other + plane < S::PLANES; other++) {
                    multiply_fragments<S>(products[i], matrices(rows.at(i, lane, dy, dx) + (depth + k) * 2 + other * S::Pixels::PLANE), b);
                }
            }
        }
    }
}

// The products of all taps, with the pixels of a warp in lines: `first` is where it finds the first of the operand.
template <class S> DEVICE void multiply_lines(float (&products)[S::OF_PIXELS][S::OF_CHANNELS][4], unsigned first, int down, int lane) {
    UNROLL(1)
    for (int k = 0; k < S::PADDED; k += 16) {
        UNROLL(3)
        for (int x = 0; x < 3; x++) {
            UNROLL(1)
            for (int plane = 0; plane < S::PLANES; plane++) {
                Quad b[3][S::OF_CHANNELS / 2];
                UNROLL(3)
                for (int y = 0; y < 3; y++) {
                    const unsigned weights = S::WEIGHTS + (S::BACK ? 8 - y * 3 - x : y * 3 + x) * S::PIECE + plane * S::PLANE;
                    bring_fragments<S>(b[y], weights, k, down, lane);
                }
                UNROLL(8)
                for (int line = 0; line < S::OF_PIXELS + 2; line++) {
                    UNROLL(2)
                    for (int other = 0; other + plane < S::PLANES; other++) {
                        const Quad a = matrices(first + S::Pixels::offset(line, x) + k * 2 + other * S::Pixels::PLANE);
                        UNROLL(3)
                        for (int y = 0; y < 3; y++) {
                            if (line - y >= 0 && line - y < S::OF_PIXELS) multiply_fragments<S>(products[line - y], a, b[y]);
                        }
                    }
                }
            }
        }
    }
}

// The pixel of a result, or OUTSIDE: in the line of all images of the tile, and in the column, that a block has.
template <class S> DEVICE unsigned pixel_of_result(const Map &out, const Place &place, int of_class, int line, int column) {
    constexpr int SHRUNK = S::POOLED ? 2 : 1, ROWS = S::ROWS / SHRUNK;
    const int row = line % ROWS, image = line / ROWS;
    unsigned y = place.row / SHRUNK + row, x = place.column / SHRUNK + column;
    if (S::CLASSES > 1) y = 2 * y + of_class / 2, x = 2 * x + of_class % 2;
    const unsigned n = place.image + image;
    return n < out.batch && y < out.height && x < out.width ? (n * out.height + y) * out.width + x : OUTSIDE;
}

// Which pixels and channels of the result a thread has, as the products are in its warp: of the i-th sixteen pixels OF_CHANNELS / 2 items.
template <class S> struct Exchanged {
    static constexpr int OF_SIXTEEN = S::OF_CHANNELS / 2;
    static_assert(S::OF_PIXELS * OF_SIXTEEN == S::ITEMS_OF_THREAD, "all items are somebody's");
    DEVICE int eight(int warp, int lane) { return warp % S::DOWN * S::OF_CHANNELS + lane % S::OF_CHANNELS; }
    DEVICE unsigned pixel(const Map &out, const Place &place, int of_class, int warp, int lane, int item) {
        const int across = warp / S::DOWN, i = item / OF_SIXTEEN, half = OF_SIXTEEN == 2 ? item % 2 : lane / 2 % 2, of_sixteen = lane / 4 + half * 8;
        if constexpr (S::IN_LINES) {
            return pixel_of_result<S>(out, place, of_class, across / S::OF_LINE * S::OF_PIXELS + i, across % S::OF_LINE * 16 + of_sixteen);
        } else {
            const int pixel = (across * S::OF_PIXELS + i) * 16 + of_sixteen;
            return pixel_of_result<S>(out, place, of_class, pixel / S::COLUMNS, pixel % S::COLUMNS);
        }
    }
    // The sums of an item, of which each of four lanes has a quarter.
    DEVICE void sums(float (&v)[EIGHT], const float (&products)[S::OF_PIXELS][S::OF_CHANNELS][4], int item, int lane) {
        const int i = item / OF_SIXTEEN;
        float quarter[4][2];
        UNROLL(4)
        for (int of = 0; of < 4; of++) {
            // OF_CHANNELS == 4: of an eight; else of two eights of each half.
            const float *p = OF_SIXTEEN == 2 ? products[i][of] + item % 2 * 2 : products[i][of % 2] + of / 2 * 2;
            quarter[of][0] = p[0], quarter[of][1] = p[1];
        }
        UNROLL(2)
        for (int bit = 1; bit <= 2; bit *= 2) {
            UNROLL(4)
            for (int of = 0; of < 4; of++) {
                if (of & bit) continue;
                UNROLL(2)
                for (int k = 0; k < 2; k++) {
                    float &low = quarter[of][k], &high = quarter[of | bit][k];
                    const float got = shuffle_xor(lane & bit ? low : high, bit);
                    if (lane & bit) low = got; else high = got;
                }
            }
        }
        UNROLL(8)
        for (int k = 0; k < EIGHT; k++) v[k] = quarter[k / 2][k % 2];
    }
};

// Of eights in f32 that are neighbours, the lower lane has the first halves afterwards and the other the second ones, so that what both
// store at once is 32 bytes, which memory takes whole.
DEVICE void exchange_halves(Floats &f, int lane) {
    UNROLL(4)
    for (int k = 0; k < 4; k++) {
        const float got = shuffle_xor(lane % 2 ? f.at[k] : f.at[k + 4], 1);
        if (lane % 2) f.at[k] = got; else f.at[k + 4] = got;
    }
}
template <int C> DEVICE void store_halves(float *map, unsigned pixel, unsigned channel, const Floats &f, int lane) {
    float *first = map + (pixel * C + channel - lane % 2 * 4);
    store_four(first, f.at);
    store_four(first + EIGHT, f.at + 4);
}

// The same where sums went through shared memory: items of neighbouring threads are neighbours.
template <class S> struct Staged {
    DEVICE int eight(int, int lane) { return lane % S::GROUPS; }
    DEVICE unsigned pixel(const Map &out, const Place &place, int of_class, int warp, int lane, int item) {
        constexpr int COLUMNS = S::COLUMNS / (S::POOLED ? 2 : 1);
        const int which = item * THREADS + warp * 32 + lane, pixel = which / S::GROUPS;
        return which < S::ITEMS ? pixel_of_result<S>(out, place, of_class, pixel / COLUMNS, pixel % COLUMNS) : OUTSIDE;
    }
    DEVICE void sums(float (&v)[EIGHT], int warp, int lane, int item) {
        constexpr int SHRUNK = S::POOLED ? 2 : 1, COLUMNS = S::COLUMNS / SHRUNK;
        const int which = item * THREADS + warp * 32 + lane, pixel = which / S::GROUPS;
        const unsigned at = S::STAGED + (pixel / COLUMNS * SHRUNK * S::COLUMNS + pixel % COLUMNS * SHRUNK) * S::SUM_LINE + which % S::GROUPS * 32;
        load_shared(v, at);
        if constexpr (S::POOLED) {
            add_shared(v, at + S::SUM_LINE);
            add_shared(v, at + S::COLUMNS * S::SUM_LINE);
            add_shared(v, at + (S::COLUMNS + 1) * S::SUM_LINE);
        }
    }
    DEVICE void add_shared(float (&v)[EIGHT], unsigned at) {
        float more[EIGHT];
        load_shared(more, at);
        UNROLL(8)
        for (int k = 0; k < EIGHT; k++) v[k] += more[k];
    }
    DEVICE void stage(const float (&products)[S::OF_PIXELS][S::OF_CHANNELS][4], int across, int down, int lane) {
        UNROLL(8)
        for (int i = 0; i < S::OF_PIXELS; i++) {
            // As multiply_lines has them, or one behind the other.
            const int pixel = S::IN_LINES ? (across / S::OF_LINE * S::OF_PIXELS + i) * S::COLUMNS + across % S::OF_LINE * 16 : (across * S::OF_PIXELS + i) * 16;
            UNROLL(8)
            for (int j = 0; j < S::OF_CHANNELS; j++) {
                const unsigned at = S::STAGED + (pixel + lane / 4) * S::SUM_LINE + ((down * S::OF_CHANNELS + j) * 8 + lane % 4 * 2) * 4;
                shared_store_pair(at, products[i][j][0], products[i][j][1]);
                shared_store_pair(at + 8 * S::SUM_LINE, products[i][j][2], products[i][j][3]);
            }
        }
    }
};

template <class S, class Operand, class Epilogue> DEVICE void convolve(const Convolution<Operand, Epilogue> &a) {
    const int thread = thread_index(), lane = thread % 32, warp = thread / 32, across = warp / S::DOWN, down = warp % S::DOWN;
    const int channel = block_row() * S::CHANNELS;
    // The first pixel of the block, of the result or, backwards, of the gradient.
    const Map &over = S::BACK ? a.in : a.out;
    const unsigned tall = (over.height + S::ROWS - 1) / S::ROWS, wide = (over.width + S::COLUMNS - 1) / S::COLUMNS;
    const Place place = {block_index() / (tall * wide) * S::IMAGES, (int)(block_index() / wide % tall) * S::ROWS, (int)(block_index() % wide) * S::COLUMNS};
    constexpr int EDGE = S::CLASSES > 1 ? 0 : S::EDGE;
    const int step = S::BACK ? 1 : S::STRIDE, shrunk = S::BACK ? 1 : S::UP;
    const Place from = {place.image, place.row * step / shrunk - EDGE, place.column * step / shrunk - EDGE};

    constexpr int BEFORE = S::RING ? S::RING - 1 : 1; // groups of copies on their way
    if constexpr (S::RING == 0) {
        bring_weights<S>(a.weight, 0, S::PIECES, 0, channel);
        copies_end();
    } else {
        for (int piece = 0; piece < BEFORE; piece++) {
            bring_weights<S>(a.weight, piece, 1, piece, channel);
            if (piece + 1 < BEFORE) copies_end(); // the last goes with the pixels
        }
    }
    if constexpr (Operand::CONSTANTS > 0) {
        Operand::constants(a.operand, S::OF_OPERAND, block_index() == 0 && block_row() == 0);
        barrier();
    }
    bring<typename S::Pixels, (S::RESIDENT > 2 ? 1 : S::PLANES == 1 ? 4 : S::RING ? 2 : 3)>(Operand::of(a.operand, thread % S::Pixels::GROUPS * EIGHT, S::OF_OPERAND), a.in, from, 0, block_row() == 0);
    copies_end();

    using Items = typename Choice<S::EXCHANGED, Exchanged<S>, Staged<S>>::Type;
    const unsigned eight = Items::eight(warp, lane), seen = channel + eight * EIGHT;
    typename Epilogue::Early early[at_least(1, S::EARLY)];
    UNROLL(8)
    for (int i = 0; i < S::EARLY; i++) {
        const unsigned pixel = Items::pixel(a.out, place, 0, warp, lane, i);
        if (pixel != OUTSIDE) early[i] = Epilogue::early(a.epilogue, pixel, seen);
    }
    if constexpr (Epilogue::CONSTANTS > 0) {
        if (thread < S::SEEN) {
            float constants[Epilogue::CONSTANTS];
            Epilogue::constants(a.epilogue, channel + thread, constants);
            UNROLL(3)
            for (int i = 0; i < Epilogue::CONSTANTS; i++) shared_store_float(S::CONSTANTS + i * S::APART + thread * 4, constants[i]);
        }
    }

    Sums sums = {};
    if constexpr (S::RING == 0) {
        copies_wait<0>();
        barrier();
    }
    int piece = 0;
    UNROLL(1)
    for (int of_class = 0; of_class < S::CLASSES; of_class++) {
        float products[S::OF_PIXELS][S::OF_CHANNELS][4] = {};
        if constexpr (S::IN_LINES) {
            const int line = across / S::OF_LINE * S::OF_PIXELS, column = across % S::OF_LINE * 16 + lane % 16;
            const int first = (line / S::ROWS * S::Pixels::ROWS + line % S::ROWS) * S::Pixels::COLUMNS + column;
            multiply_lines<S>(products, first * S::Pixels::PITCH + lane / 16 * 16, down, lane);
        } else {
            Rows<S> rows;
            rows.place(across, lane);
            UNROLL(S::UNROLLED)
            for (int tap = S::first_tap(of_class); tap < S::end_tap(of_class); tap++) {
                UNROLL(1)
                for (int part = 0; part < S::PIECES_OF_TAP; part++, piece++) {
                    unsigned weights = S::WEIGHTS + (tap * S::PIECES_OF_TAP + part) * S::PIECE;
                    if constexpr (S::RING != 0) {
                        // Pixels and the first pieces are one group: while the first is waited for, none may be left.
                        if (piece == 0) copies_wait<0>(); else copies_wait<S::RING - 2>();
                        barrier();
                        if (piece + BEFORE < S::PIECES) bring_weights<S>(a.weight, piece + BEFORE, 1, (piece + BEFORE) % S::RING, channel);
                        copies_end();
                        weights = S::WEIGHTS + piece % S::RING * S::PIECE;
                    }
                    multiply_piece<S>(products, rows, S::tap_row(tap), S::tap_column(tap), part * S::DEPTH, weights, down, lane);
                }
            }
        }
        if constexpr (!S::EXCHANGED) {
            if (S::CLASSES == 1 || of_class > 0) barrier(); // the operands, or the sums of the class before, were read
            Staged<S>::stage(products, across, down, lane);
            barrier();
        }
        const Epilogue epilogue = Epilogue::of(a.epilogue, seen, S::CONSTANTS + eight * EIGHT * 4, S::APART);
        // So many items' loads are on their way at once, as registers allow.
        constexpr bool MANY = S::OF_PIXELS * S::OF_CHANNELS >= 16;
        constexpr bool CROWDED = MANY && (Epilogue::SUMS || S::PLANES > 1);
        constexpr int AT_ONCE = S::EARLY == S::ITEMS_OF_THREAD ? S::EARLY : at_most(CROWDED ? 1 : 2, S::ITEMS_OF_THREAD);
        UNROLL(16)
        for (int first = 0; first < S::ITEMS_OF_THREAD; first += AT_ONCE) {
            typename Epilogue::Early now[AT_ONCE];
            typename Epilogue::Late late[AT_ONCE];
            unsigned pixels[AT_ONCE];
            UNROLL(8)
            for (int i = 0; i < AT_ONCE; i++) {
                pixels[i] = first + i < S::ITEMS_OF_THREAD ? Items::pixel(a.out, place, of_class, warp, lane, first + i) : OUTSIDE;
                if (pixels[i] == OUTSIDE) continue;
                now[i] = first + i < S::EARLY ? early[at_most(at_least(1, S::EARLY) - 1, first + i)] : Epilogue::early(a.epilogue, pixels[i], seen);
                late[i] = Epilogue::late(a.epilogue, pixels[i], seen);
            }
            UNROLL(8)
            for (int i = 0; i < AT_ONCE; i++) {
                float v[EIGHT];
                if constexpr (S::EXCHANGED) Exchanged<S>::sums(v, products, first + i, lane);
                if constexpr (S::PAIRED) {
                    typename Epilogue::Eight eight = {};
                    if (pixels[i] != OUTSIDE) eight = epilogue.value(v, now[i], late[i], sums);
                    exchange_halves(eight, lane);
                    if (pixels[i] != OUTSIDE) store_halves<S::OUT>(Epilogue::result(a.epilogue), pixels[i], seen, eight, lane);
                } else {
                    if (pixels[i] == OUTSIDE) continue;
                    if constexpr (!S::EXCHANGED) Staged<S>::sums(v, warp, lane, first + i);
                    store_eight<S::OUT>(Epilogue::result(a.epilogue), pixels[i], seen, epilogue.value(v, now[i], late[i], sums));
                }
            }
        }
    }
    if constexpr (Epilogue::SUMS) {
        leave_sums<S::GROUPS, S::PARTS, at_least(EIGHT, S::OUT), S::OVER_PIXELS>(sums, a.epilogue.limbs, channel);
    }
    if constexpr (S::RING != 0) copies_wait<0>();
}
