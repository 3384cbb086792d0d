//! The ring's binary layout: what the recorder writes and the reader believes, byte by byte.
//!
//! Owns every offset, size, state and magic number of ABI version 1, and nothing that runs: both sides compute from
//! these constants, and the assertions below hold them to the drawing. Everything is little-endian; "bits" are CTF's
//! unit for sizes. A changed meaning is a new [`ABI`].
//!
//! ```text
//!          0 +---------------------------------------------------------------+
//!            | header (4096): what never changes | clock pairs | counters    |
//!       4096 +---------------------------------------------------------------+
//!            | annotations: 64 entries of 512, a sequence lock each          |
//!      36864 +---------------------------------------------------------------+
//!            | schema: 4096 slots of 512, packetised CTF metadata            |
//!    2134016 +---------------------------------------------------------------+
//!            | writer slots: 4096 of 128                                     |
//!    2658304 +---------------------------------------------------------------+
//!            | descriptors: one word for each cell of the pool               |
//!            +---------------------------------------------------------------+
//!            | pool: blocks of 16 cells of 1024; a packet is a block or a    |
//!            | cell                                                          |
//!            +---------------------------------------------------------------+
//!
//! header        0 magic u64          8 abi u32            12 header size u32
//!              16 uuid 16            32 size u64          40 owner pid u32     44 clock source u32 (0 ns, 1 tsc)
//!              48 owner start time u64
//!              56 annotations at     64 how many u32      68 size of one u32
//!              72 schema at          80 how many u32      84 size of one u32
//!              88 writer slots at    96 how many u32     100 size of one u32
//!             104 descriptors at    112 how many u32     116 size of a cell u32
//!             120 pool at           128 cells a block u32
//!             192 clock pairs published u64              200 clock jumps u64
//!             256 four clock pairs: ticks u64, monotonic ns u64, realtime ns u64, ticks a second u64
//!             384 ticket u64
//!             448 free slots u64 (tag << 32 | slot + 1)  456 slots ever used u64  464 active writers u64
//!             472 cells that threads have for themselves  480 parts let go u64
//!             488 how many were when a search found none, + 1 u64
//!             512 events discarded without a slot u64    520 fields cut u64       528 event types refused u64
//!             536 annotations refused u64                544 schema slots taken   552 next event number
//!             560 reports started u64                    568 reports not started u64
//!             576 attachments refused u64                584 what reading the clock takes u64, picoseconds
//!             640 attachments: 8 entries of 416, a sequence lock each
//!
//! annotation    0 lock u64 (0 never used, odd being written)   8 key length u16   10 value length u16
//!              12 privacy u8        16 key, then value
//!
//! attachment    0 lock u64             8 kind u8 (0 none, 1 memory, 2 file)     9 class u8 (1 trail, 2 logs, 3 memory)
//!              10 name length u16     12 path length u16    16 address u64       24 bytes at most u64
//!              32 name, then path
//!
//! schema slot   0 magic u32          4 uuid 16            24 content size u32, bits    28 size u32, bits
//!              37 text; a declaration may run over several slots, and its size says over how many
//!
//! writer slot   0 current cell + 1 u64 (0 none)            8 events in earlier packets (while there is no current one)
//!              16 next packet's number u64                24 events discarded u64
//!              32 thread u32        36 next free slot + 1 u32
//!              40 pinned cell + 1 u64   48 its descriptor  56 idle cell + 1 u64   64 its descriptor
//!              72 cell being opened + 1 u64       80 its descriptor
//!              88 cell that it replaces + 1 u64    96 its descriptor
//!             104 first cell + 1 of the thread's own blocks u32 (0 none)   108 how many u32
//!
//! descriptor    generation << 8 | whole << 4 | state
//!
//! packet        0 magic u32          4 uuid 16            20 stream u32        24 writer slot u64
//!              32 first time u64    40 last time u64      48 content size u32, bits | events u32: the commit word
//!              56 size u64, bits    64 number u64         72 events discarded  80 events before
//!              88 cpu u32           92 thread u32         96 events
//!
//! event         0 number u16         2 time 48 bits        8 payload, byte-packed; the next one at a multiple of 8
//! ```
//!
//! The commit word's events are the application's: the recorder's own thread-change events are content that does not
//! count.

/// Reads `FORETRC1` in memory. Written last, when everything else is there.
pub const MAGIC: u64 = u64::from_le_bytes(*b"FORETRC1");
/// The version of this layout.
pub const ABI: u32 = 1;
/// The memfd's name, as it appears in `/proc/PID/maps` behind `/memfd:`.
pub const NAME: &str = "foretrace.v1";

/// Bytes of the header.
pub const HEADER_SIZE: u64 = 4096;
/// Header: [`MAGIC`].
pub const AT_MAGIC: u64 = 0;
/// Header: [`ABI`], and the header's size in the upper half.
pub const AT_ABI: u64 = 8;
/// Header: 16 bytes that name this ring.
pub const AT_UUID: u64 = 16;
/// Header: the whole ring's size in bytes.
pub const AT_SIZE: u64 = 32;
/// Header: the owner's process ID, and the clock source in the upper half.
pub const AT_OWNER: u64 = 40;
/// Header: the owner's start time.
pub const AT_OWNER_START: u64 = 48;
/// Header: where the annotations are.
pub const AT_ANNOTATIONS: u64 = 56;
/// Header: how many there are, and the size of one.
pub const AT_ANNOTATION_COUNT: u64 = 64;
/// Header: where the schema area is.
pub const AT_SCHEMA: u64 = 72;
/// Header: how many schema slots there are, and the size of one.
pub const AT_SCHEMA_COUNT: u64 = 80;
/// Header: where the writer slots are.
pub const AT_SLOTS: u64 = 88;
/// Header: how many there are, and the size of one.
pub const AT_SLOT_COUNT: u64 = 96;
/// Header: where the descriptors are.
pub const AT_DESCRIPTORS: u64 = 104;
/// Header: how many cells there are, and the size of one.
pub const AT_CELL_COUNT: u64 = 112;
/// Header: where the pool is.
pub const AT_POOL: u64 = 120;
/// Header: cells in a block.
pub const AT_BLOCK: u64 = 128;
/// Header: how many clock pairs were published; the newest is number `published - 1`, modulo [`CLOCK_PAIRS`].
pub const AT_CLOCK_PUBLISHED: u64 = 192;
/// Header: how often the clocks moved against each other by more than drift explains.
pub const AT_CLOCK_JUMPS: u64 = 200;
/// Header: the clock pairs.
pub const AT_CLOCK: u64 = 256;
/// Header: the pool's ticket counter, in cells.
pub const AT_TICKET: u64 = 384;
/// Header: the stack of free writer slots.
pub const AT_FREE_SLOTS: u64 = 448;
/// Header: writer slots that were ever used.
pub const AT_USED_SLOTS: u64 = 456;
/// Header: writer slots that a thread holds.
pub const AT_ACTIVE: u64 = 464;
/// Header: cells that threads have for themselves.
pub const AT_OWN: u64 = 472;
/// Header: how often a part of the pool was let go.
pub const AT_RELEASED: u64 = 480;
/// Header: [`AT_RELEASED`] + 1 when a search last found no part; 0: none was in vain.
pub const AT_EXHAUSTED: u64 = 488;
/// Header: events that were discarded for want of a writer slot.
pub const AT_DISCARDED: u64 = 512;
/// Header: fields that were cut.
pub const AT_CUT: u64 = 520;
/// Header: event types that were refused.
pub const AT_REFUSED_TYPES: u64 = 528;
/// Header: annotations that were refused.
pub const AT_REFUSED_ANNOTATIONS: u64 = 536;
/// Header: schema slots that are taken.
pub const AT_SCHEMA_TAKEN: u64 = 544;
/// Header: the next event type's number.
pub const AT_NEXT_ID: u64 = 552;
/// Header: reports that were started.
pub const AT_REPORTS: u64 = 560;
/// Header: reports that were not started: too many, or nothing to start.
pub const AT_REFUSED_REPORTS: u64 = 568;
/// Header: attachments that were refused.
pub const AT_REFUSED_ATTACHMENTS: u64 = 576;
/// Header: what one reading of the clock took when the ring was made, in picoseconds. 0: it was not measured.
pub const AT_CLOCK_COST: u64 = 584;
/// Header: the attachments.
pub const AT_ATTACHMENTS: u64 = 640;
/// Header: a word without meaning, to which stores with impossible offsets go.
pub const AT_SCRATCH: u64 = 4088;

/// Clock pairs in the header.
pub const CLOCK_PAIRS: u64 = 4;
/// Bytes of a clock pair.
pub const CLOCK_PAIR_SIZE: u64 = 32;
/// Times are nanoseconds of CLOCK_MONOTONIC.
pub const CLOCK_MONOTONIC: u32 = 0;
/// Times are ticks of the time stamp counter.
pub const CLOCK_TSC: u32 = 1;

/// How many annotations there are.
pub const ANNOTATION_COUNT: u32 = 64;
/// Bytes of an annotation.
pub const ANNOTATION_SIZE: u32 = 512;
/// Annotation: its lock.
pub const ANNOTATION_LOCK: u64 = 0;
/// Annotation: key length u16, value length u16, privacy u8.
pub const ANNOTATION_HEAD: u64 = 8;
/// Annotation: the key, then the value.
pub const ANNOTATION_TEXT: u64 = 16;
/// Bytes of key and value together.
pub const ANNOTATION_CAPACITY: u32 = ANNOTATION_SIZE - ANNOTATION_TEXT as u32;

/// How many attachments there are.
pub const ATTACHMENT_COUNT: u32 = 8;
/// Bytes of an attachment's entry.
pub const ATTACHMENT_SIZE: u32 = 416;
/// Attachment: its lock.
pub const ATTACHMENT_LOCK: u64 = 0;
/// Attachment: kind u8, class u8, name length u16, path length u16.
pub const ATTACHMENT_HEAD: u64 = 8;
/// Attachment: where the memory is.
pub const ATTACHMENT_ADDRESS: u64 = 16;
/// Attachment: how many bytes of it there are, or are wanted at most.
pub const ATTACHMENT_MOST: u64 = 24;
/// Attachment: the name, then the path.
pub const ATTACHMENT_TEXT: u64 = 32;
/// Bytes of an attachment's name.
pub const ATTACHMENT_NAME: usize = 64;
/// Bytes of an attached file's path.
pub const ATTACHMENT_PATH: usize = 320;
/// Attachment kind: there is none.
pub const ATTACHMENT_NONE: u64 = 0;
/// Attachment kind: memory.
pub const ATTACHMENT_MEMORY: u64 = 1;
/// Attachment kind: a file.
pub const ATTACHMENT_FILE: u64 = 2;

/// How many schema slots there are.
pub const SCHEMA_COUNT: u32 = 4096;
/// Bytes of a schema slot.
pub const SCHEMA_SIZE: u32 = 512;
/// Magic of packetised CTF metadata.
pub const SCHEMA_MAGIC: u32 = 0x75D1_1D57;
/// Schema slot: content size and packet size, both in bits. 0: not published.
pub const SCHEMA_SIZES: u64 = 24;
/// Schema slot: the text.
pub const SCHEMA_TEXT: u64 = 37;
/// Schema slots that one declaration may take.
pub const SCHEMA_SLOTS_EACH: u32 = 8;

/// How many writer slots there are.
pub const SLOT_COUNT: u32 = 4096;
/// Bytes of a writer slot.
pub const SLOT_SIZE: u32 = 128;
/// Writer slot: the current packet's first cell + 1; 0 is none.
pub const SLOT_CURRENT: u64 = 0;
/// Writer slot: events in all its packets, valid while there is no current one.
pub const SLOT_BEFORE: u64 = 8;
/// Writer slot: its next packet's number.
pub const SLOT_NUMBER: u64 = 16;
/// Writer slot: events that were discarded.
pub const SLOT_DISCARDED: u64 = 24;
/// Writer slot: the thread, and the next free slot + 1 in the upper half.
pub const SLOT_THREAD: u64 = 32;
/// Writer slot: the pinned packet's first cell + 1; 0 is none.
pub const SLOT_PINNED: u64 = 40;
/// Writer slot: the descriptor that the pinned packet had.
pub const SLOT_PINNED_WORD: u64 = 48;
/// Writer slot: the packet that the slot's last thread left, its first cell + 1; 0 is none.
pub const SLOT_IDLE: u64 = 56;
/// Writer slot: the descriptor that packet had.
pub const SLOT_IDLE_WORD: u64 = 64;

/// Writer slot: the first cell + 1 of a packet that is being opened; 0 is none. Left there by a writer that jumped away.
pub const SLOT_OPENING: u64 = 72;
/// Writer slot: the descriptor that packet is to have, without its state.
pub const SLOT_OPENING_WORD: u64 = 80;
/// Writer slot: the first cell + 1 of the packet before it; 0 is none.
pub const SLOT_REPLACED: u64 = 88;
/// Writer slot: the descriptor that packet had.
pub const SLOT_REPLACED_WORD: u64 = 96;
/// Writer slot: the first cell + 1 of blocks that only this thread reuses, and in the upper half how many; 0 is none.
/// Those that it does not write at the moment stay [`OPEN`], so that nobody takes them.
pub const SLOT_OWN: u64 = 104;

/// Bytes of a cell.
pub const CELL_SIZE: u32 = 1024;
/// Cells in a block.
pub const BLOCK_CELLS: u32 = 16;
/// Bytes of a block.
pub const BLOCK_SIZE: u32 = CELL_SIZE * BLOCK_CELLS;

/// Descriptor state: nothing here.
pub const FREE: u64 = 0;
/// Descriptor state: a thread writes here.
pub const OPEN: u64 = 1;
/// Descriptor state: no longer written, kept as long as there is other room.
pub const PINNED: u64 = 2;
/// Descriptor state: no longer written, next to be reused.
pub const CLOSED: u64 = 3;
/// Descriptor state: being reused.
pub const BUSY: u64 = 4;
/// Descriptor state: a later cell of a whole packet.
pub const MEMBER: u64 = 5;
/// Descriptor bits of the state.
pub const STATE: u64 = 0xf;
/// Descriptor bit: the packet takes the whole block.
pub const WHOLE: u64 = 0x10;
/// Descriptor: one generation.
pub const GENERATION: u64 = 0x100;

/// Magic of a CTF packet.
pub const PACKET_MAGIC: u32 = 0xC1FC_1FC1;
/// Bytes of a packet's header.
pub const PACKET_HEADER: u64 = 96;
/// Packet: the writer slot it belongs to, which is its stream's number.
pub const PACKET_SLOT: u64 = 24;
/// Packet: the first time.
pub const PACKET_BEGIN: u64 = 32;
/// Packet: the last time; [`NOT_ENDED`] while it is open.
pub const PACKET_END: u64 = 40;
/// Packet: the commit word.
pub const PACKET_COMMIT: u64 = 48;
/// Packet: its size in bits.
pub const PACKET_SIZE: u64 = 56;
/// Packet: its number within its slot.
pub const PACKET_NUMBER: u64 = 64;
/// Packet: events discarded before its end.
pub const PACKET_DISCARDED: u64 = 72;
/// Packet: events in the slot's earlier packets.
pub const PACKET_BEFORE: u64 = 80;
/// Packet: cpu (always 0) and the thread in the upper half.
pub const PACKET_THREAD: u64 = 88;
/// The last time of a packet without one: late, but not so late that babeltrace2 refuses it.
pub const NOT_ENDED: u64 = 1 << 62;
/// The commit word of a packet without events.
pub const EMPTY: u64 = PACKET_HEADER * 8;
/// Commit word: one event.
pub const ONE_EVENT: u64 = 1 << 32;

/// Bytes of an event's header.
pub const EVENT_HEADER: u64 = 8;
/// Application event types have numbers below this.
pub const FIRST_OWN_ID: u16 = 0xff00;
/// The recorder's event `foretrace:thread`.
pub const THREAD_ID: u16 = 0xfffe;
/// The recorder's event `foretrace:report`.
pub const REPORT_ID: u16 = 0xfffd;
/// First field of `foretrace:report`: an error that the program survives.
pub const REPORT_ERROR: u8 = 0;
/// First field of `foretrace:report`: a panic.
pub const REPORT_PANIC: u8 = 1;
/// Last field of `foretrace:report`: no more frames than these, the innermost.
pub const REPORT_FRAMES: usize = 64;

/// The smallest pool, in bytes.
pub const MIN_POOL: u64 = 16 * BLOCK_SIZE as u64;
/// The usual pool, in bytes.
pub const DEFAULT_POOL: u64 = 4 << 20;
/// The largest pool, in bytes.
pub const MAX_POOL: u64 = 1 << 30;

/// Where everything lies in a ring with a pool of a given size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Where the annotations are.
    pub annotations: u64,
    /// Where the schema area is.
    pub schema: u64,
    /// Where the writer slots are.
    pub slots: u64,
    /// Where the descriptors are.
    pub descriptors: u64,
    /// Where the pool is.
    pub pool: u64,
    /// How many cells it has: a multiple of [`BLOCK_CELLS`].
    pub cells: u32,
    /// The whole ring's size.
    pub size: u64,
}

impl Geometry {
    /// Lays a ring out; `pool` is rounded down to whole blocks and held between [`MIN_POOL`] and [`MAX_POOL`].
    pub const fn of_pool(pool: u64) -> Geometry {
        let pool = if pool < MIN_POOL {
            MIN_POOL
        } else if pool > MAX_POOL {
            MAX_POOL
        } else {
            pool - pool % BLOCK_SIZE as u64
        };
        let annotations = HEADER_SIZE;
        let schema = annotations + (ANNOTATION_COUNT * ANNOTATION_SIZE) as u64;
        let slots = schema + (SCHEMA_COUNT * SCHEMA_SIZE) as u64;
        let descriptors = slots + (SLOT_COUNT * SLOT_SIZE) as u64;
        let cells = (pool / CELL_SIZE as u64) as u32;
        let at = (descriptors + cells as u64 * 8).next_multiple_of(4096);
        Geometry { annotations, schema, slots, descriptors, pool: at, cells, size: at + pool }
    }
}

// The drawing, asserted.
const DEFAULT: Geometry = Geometry::of_pool(DEFAULT_POOL);
const _: () = assert!(DEFAULT.annotations == 4096);
const _: () = assert!(DEFAULT.schema == 36_864);
const _: () = assert!(DEFAULT.slots == 2_134_016);
const _: () = assert!(DEFAULT.descriptors == 2_658_304);
const _: () = assert!(DEFAULT.cells == 4096);
const _: () = assert!(DEFAULT.pool == DEFAULT.descriptors + 32_768 && DEFAULT.pool.is_multiple_of(4096));
const _: () = assert!(AT_CLOCK + CLOCK_PAIRS * CLOCK_PAIR_SIZE == AT_TICKET);
const _: () = assert!(AT_CLOCK_COST < AT_ATTACHMENTS && AT_SCRATCH + 8 == HEADER_SIZE);
const _: () = assert!(AT_ATTACHMENTS + (ATTACHMENT_COUNT * ATTACHMENT_SIZE) as u64 <= AT_SCRATCH);
const _: () =
    assert!(ATTACHMENT_TEXT as usize + ATTACHMENT_NAME + ATTACHMENT_PATH == ATTACHMENT_SIZE as usize);
const _: () = assert!(SLOT_OWN + 8 <= SLOT_SIZE as u64 && AT_EXHAUSTED < AT_DISCARDED);
const _: () = assert!(SCHEMA_SIZES + 8 <= SCHEMA_TEXT && SCHEMA_TEXT < SCHEMA_SIZE as u64);
const _: () = assert!(PACKET_THREAD + 8 == PACKET_HEADER && BLOCK_SIZE == 16_384);
const _: () = assert!(MEMBER <= STATE && STATE < WHOLE && WHOLE < GENERATION);
const _: () = assert!(FIRST_OWN_ID == crate::metadata::FIRST_INTERNAL_ID);
const _: () = assert!(THREAD_ID == crate::metadata::THREAD_ID && REPORT_ID == crate::metadata::REPORT_ID);
