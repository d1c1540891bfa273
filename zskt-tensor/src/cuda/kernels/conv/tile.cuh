// Pixels of maps [B, H, W, C] on their way to shared memory, and where they lie there.

constexpr int THREADS = 256, WARPS = THREADS / 32;

// Pixels of IMAGES images in shared memory, ROWS × COLUMNS of each, STEP apart in the map. EVEN > 0: even columns come first (so
// many), then odd ones, so that every second pixel is a neighbour. A pixel takes an odd multiple of 16 bytes, so that eight
// neighbours lie in all banks. Of the rows and columns, OWN_ROWS and OWN_COLUMNS from EDGE on belong to no other block.
template <int IMAGES_, int ROWS_, int COLUMNS_, int CHANNELS_, int STEP_ = 1, int EVEN_ = 0, int EDGE_ = 0, int OWN_ROWS_ = ROWS_, int OWN_COLUMNS_ = COLUMNS_>
struct Tile {
    static constexpr int IMAGES = IMAGES_, ROWS = ROWS_, COLUMNS = COLUMNS_, CHANNELS = CHANNELS_, STEP = STEP_, EVEN = EVEN_;
    static constexpr int EDGE = EDGE_, OWN_ROWS = OWN_ROWS_, OWN_COLUMNS = OWN_COLUMNS_;
    static constexpr int PITCH = CHANNELS * 2 + 16, PIXELS = IMAGES * ROWS * COLUMNS, BYTES = PIXELS * PITCH;
    // An item is eight channels of a pixel. A thread keeps to its channels, so where these do not divide a block some threads idle.
    static constexpr int GROUPS = CHANNELS / EIGHT, ITEMS = PIXELS * GROUPS, ACTIVE = THREADS - THREADS % GROUPS;
    static constexpr int MOST = quotient_up(ITEMS, ACTIVE);
    static_assert(GROUPS <= THREADS, "a thread has at least one item");
    DEVICE bool idle() { return ACTIVE < THREADS && thread_index() >= ACTIVE; }
    DEVICE int offset(int row, int column) { // of compile-time rows and columns, from a pixel whose column is even
        return (row * COLUMNS + (EVEN ? column % 2 * EVEN + column / 2 : column)) * PITCH;
    }
};

// The input pixels under a tile of ROWS × COLUMNS outputs, with the edge that a SIDE × SIDE kernel reaches.
template <int CHANNELS, int SIDE, int STRIDE, int UP, int IMAGES, int ROWS, int COLUMNS> struct Footprint {
    static constexpr int EDGE = SIDE == 3 ? 1 : 0;
    static constexpr bool SPREAD = STRIDE == 2 && SIDE == 3; // every second pixel
    static constexpr int TALL = SPREAD ? 2 * ROWS + 1 : UP == 2 ? ROWS / 2 + 2 : ROWS + 2 * EDGE;
    static constexpr int WIDE = SPREAD ? 2 * COLUMNS + 1 : UP == 2 ? COLUMNS / 2 + 2 : COLUMNS + 2 * EDGE;
    using Pixels = Tile<IMAGES, TALL, WIDE, CHANNELS, (SIDE == 1 ? STRIDE : 1), (SPREAD ? COLUMNS + 1 : 0), EDGE, ROWS, COLUMNS>;
};

struct Place { unsigned image; int row, column; }; // of a tile's first pixel

// The pixel of a tile's item: its index in the map, or OUTSIDE.
constexpr unsigned OUTSIDE = ~0u;
struct Where { unsigned pixel, at; bool own; };
template <class T> DEVICE Where where(const Map &map, const Place &place, unsigned at, int item) {
    const int group = item % T::GROUPS, pixel = item / T::GROUPS;
    const int column = pixel % T::COLUMNS, row = pixel / T::COLUMNS % T::ROWS, image = pixel / T::COLUMNS / T::ROWS;
    const int y = place.row + row * T::STEP, x = place.column + column * T::STEP;
    const unsigned n = place.image + image;
    const bool inside = n < map.batch && (unsigned)y < map.height && (unsigned)x < map.width;
    const int slot = T::EVEN ? pixel - column + (column % 2) * T::EVEN + column / 2 : pixel;
    Where where;
    where.pixel = inside ? (n * map.height + y) * map.width + x : OUTSIDE;
    where.at = at + slot * T::PITCH + group * 16;
    where.own = row >= T::EDGE && row < T::EDGE + T::OWN_ROWS && column >= T::EDGE && column < T::EDGE + T::OWN_COLUMNS;
    return where;
}

// COUNT of a thread's items, from `first` on.
template <class T, int COUNT, class Operand>
DEVICE void fetch(typename Operand::Raw (&raw)[COUNT], const Operand &operand, const Map &map, const Place &place, int first) {
    if (T::idle()) return;
    UNROLL(16)
    for (int k = 0; k < COUNT; k++) {
        const int item = first + k * T::ACTIVE + thread_index();
        if (item < T::ITEMS) {
            const Where w = where<T>(map, place, 0, item);
            if (w.pixel != OUTSIDE) raw[k] = operand.raw(w.pixel);
        }
    }
}
template <class T, int COUNT, class Operand>
DEVICE void put(const typename Operand::Raw (&raw)[COUNT], const Operand &operand, const Map &map, const Place &place, unsigned at, int first, bool keeps) {
    if (T::idle()) return;
    UNROLL(16)
    for (int k = 0; k < COUNT; k++) {
        const int item = first + k * T::ACTIVE + thread_index();
        if (item < T::ITEMS) {
            const Where w = where<T>(map, place, at, item);
            Quad q = {};
            if (w.pixel != OUTSIDE) {
                q = operand.value(raw[k]);
                if (keeps && w.own) operand.keep(w.pixel, q);
            }
            shared_store(w.at, q);
        }
    }
}

// Brings a tile to shared memory, zeros where the map ends. What is copied asynchronously is there after copies_wait. TRIPLES: items of
// three maps whose loads are on their way at once, as registers allow.
template <class T, int TRIPLES, class Operand>
DEVICE void bring(const Operand &operand, const Map &map, const Place &place, unsigned at, bool keeps) {
    if constexpr (Operand::COPIED) {
        if (T::idle()) return;
        for (int item = thread_index(); item < T::ITEMS; item += T::ACTIVE) {
            const Where w = where<T>(map, place, at, item);
            const bool inside = w.pixel != OUTSIDE;
            copy_async(w.at, operand.copied(inside ? w.pixel : 0), inside);
        }
    } else {
        constexpr int COUNT = at_most(Operand::MAPS == 1 ? 6 : TRIPLES, T::MOST);
        for (int first = 0; first < T::ITEMS; first += COUNT * T::ACTIVE) {
            typename Operand::Raw raw[COUNT];
            fetch<T, COUNT>(raw, operand, map, place, first);
            put<T, COUNT>(raw, operand, map, place, at, first, keeps);
        }
    }
}
