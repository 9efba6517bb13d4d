//! Every bound of the store, in one place.

use std::time::Duration;

/// Connections to the embedded database: readers beside the one that writes. Each is held for as
/// long as the program is late with an answer that is there, so that there are more of them than
/// threads.
pub const SQLITE_CONNECTIONS: u32 = 8;
/// Connections to a database server.
pub const SERVER_CONNECTIONS: u32 = 16;
/// Of the connections to the embedded database, those that write: SQLite has one writer, and
/// waiting here is fair, waiting in SQLite is a lottery.
pub const SQLITE_WRITERS: u32 = 1;
/// Of the connections to a database server, those that write: none that waits for a lock takes
/// the place of one that reads.
pub const SERVER_WRITERS: u32 = 8;
/// Longest wait for a turn to read, and for a new connection to be made.
pub const ACQUIRE: Duration = Duration::from_secs(3);
/// Longest wait for a connection to say that it can be used again; it is cut off then.
pub const RELEASE: Duration = Duration::from_secs(3);
/// Connections idle for longer are closed.
pub const IDLE: Duration = Duration::from_secs(300);
/// Longest wait for another process that holds the same SQLite file, while it is opened and its
/// schema brought up to date.
pub const SQLITE_BUSY: Duration = Duration::from_secs(5);
/// Longest wait for another process that is writing to the same SQLite file: less than
/// [`WRITE`], so that SQLite says that it is locked before nobody waits for it.
pub const WRITE_BUSY: Duration = Duration::from_secs(4);
/// The pause before a file that another copy is making is opened again.
pub const SQLITE_OPEN_PAUSE: Duration = Duration::from_millis(20);
/// Longest that a server may work on one statement.
pub const STATEMENT: Duration = Duration::from_secs(30);
/// How long what was seen of the files of SQLite holds for those who read: many come at a time, and
/// each would ask the system five things.
pub const LOOK_HOLDS: Duration = Duration::from_millis(1);
/// How long after an operation that did not come to its end a connection to SQLite that is given
/// back is asked whether it has done all that it was told.
pub const DOUBT: Duration = Duration::from_secs(30);
/// Longest that opening may take, migrations and their lock included.
pub const OPEN: Duration = Duration::from_secs(150);
/// How long a database that is being opened is not taken for one that does not answer: changes of
/// the schema take their time, also those that another copy is making.
pub const OPEN_QUIETLY: Duration = Duration::from_secs(15);
/// A file that may be damaged is looked through again after so many times what it took.
pub const EXAMINE_PAUSE: u32 = 10;
/// That a database is opened anew is logged at most so often.
pub const TELL_EVERY: Duration = Duration::from_secs(10);
/// Longest that a shutdown waits for a database that is just being opened.
pub const CLOSE_TURN: Duration = Duration::from_secs(10);
/// Longest wait for the connections of a database to close whose file was removed or replaced.
pub const CLOSE: Duration = Duration::from_secs(40);
/// Longest that the database may take for a read that an answer waits for.
pub const READ: Duration = Duration::from_secs(1);
/// Longest that such a read may take in all while the program itself is late: what is stored is
/// there sooner than it would be computed again.
pub const READ_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether the program itself is late.
pub const TICK: Duration = Duration::from_millis(50);
/// How late a timer may be that counts as on time.
pub const TICK_SLACK: Duration = Duration::from_millis(25);
/// Reads in a row that took too long, without one in time between, after which the database
/// counts as away; it is asked from the first on.
pub const READS_IN_A_ROW: u32 = 3;
/// Longest that the prober waits in all while the program itself is late.
pub const PROBE_PATIENCE: Duration = Duration::from_secs(10);
/// Longest that the prober waits in all to write: whoever stands before it for a turn has given up
/// by then ([`FEEDBACK`]), and the database has its whole time after that.
pub const PROBE_WRITE: Duration = Duration::from_secs(15);
/// Longest that the database may take for a write that is to be acknowledged.
pub const WRITE: Duration = Duration::from_secs(5);
/// Longest that feedback may take in all, also while the program itself is late or others write
/// before it: less than the deadline of the pipeline `feedback`, so that its client is told to
/// come again.
pub const FEEDBACK: Duration = Duration::from_secs(7);
/// After a failure, reads that a classification can do without are left out for so
/// long, so that a database which is away costs them nothing.
pub const REST: Duration = Duration::from_millis(500);
/// How often a database that failed is asked whether it is back.
pub const PROBE_EVERY: Duration = Duration::from_secs(1);
/// The pause before a database is asked that did not answer in time once.
pub const PROBE_SOON: Duration = Duration::from_millis(50);
/// How long a database that could not be written, and can be for all we know, goes without a
/// failure before it counts as well. What is really written ends that at once.
pub const SETTLE: Duration = Duration::from_secs(5);
/// How often a transaction that the database broke off for another's sake (deadlock,
/// serialisation) is tried in all.
pub const TRANSACTION_TRIES: u32 = 5;

/// What can be made again (vectors of labels, answers of the language model) is not kept on a disk
/// of SQLite with less room than this, in bytes: feedback needs it more, and it needs room twice,
/// in the log and in the file.
pub const ROOM_FOR_FEEDBACK: u64 = 32 << 20;
/// That there is little room is logged at most so often.
pub const TELL_CROWD_EVERY: Duration = Duration::from_secs(600);
/// Vectors of labels written in one transaction: a small one gives way to feedback.
pub const LABELS_AT_ONCE: usize = 64;

/// Images that wait to be written, each once.
pub const QUEUE: usize = 1024;
/// Records of an image that wait beside each other, since they say different things of it.
pub const RECORDS_PER_IMAGE: usize = LOOKS_PER_IMAGE;
/// Most records of images written in one transaction.
pub const BATCH: usize = 64;
/// Fewer are written at once where a transaction takes longer than this: feedback waits behind
/// it.
pub const BATCH_TIME: Duration = Duration::from_millis(500);
/// Images of which it is remembered what was written of them, so that it is not written again.
pub const KNOWN: usize = 4096;
/// How long that is remembered: somebody else may have changed it.
pub const KNOWN_FOR: Duration = Duration::from_secs(60);
/// Most looks remembered of such an image.
pub const KNOWN_LOOKS: usize = 8;
/// How often an image is tried by itself that fails for no reason that is known, while others
/// can be written. What the database says of its values ends that at once.
pub const IMAGE_TRIES: u32 = 5;
/// First pause after a failed batch; doubles up to [`BATCH_PAUSE_MAX`], each shortened by chance
/// by up to a half, so that copies do not come back together.
pub const BATCH_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between two tries of a batch.
pub const BATCH_PAUSE_MAX: Duration = Duration::from_secs(2);
/// Longest that a shutdown waits for the queue.
pub const FLUSH: Duration = Duration::from_secs(10);

/// How often the index asks for what other copies wrote.
pub const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Rows read at once while the index is loaded.
pub const SYNC_PAGE: u64 = 512;
/// Newest ids looked at again at each round: a row may be committed after one with a
/// higher id.
pub const SYNC_OVERLAP: i64 = 1024;
/// Ids looked through a round for images that went without a trace.
pub const SWEEP_PAGE: u64 = 4096;
/// Rows remembered as such that no search can use.
pub const UNUSABLE: usize = 65_536;
/// Changes of images kept for copies that are behind.
pub const CHANGES_KEPT: i64 = 16_384;
/// How often older ones are deleted.
pub const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// Changes deleted in one transaction.
pub const PRUNE_PAGE: i64 = 8192;

/// Where the index keeps codes alone, most vectors that are read for one search: as many wait
/// behind each other's margins where thousands of pictures are nearly the same. The others are
/// ranked by their estimates.
pub const EXACT_ROWS: usize = 2048;
/// Most bytes of those vectors: no more of them are read where they are long.
pub const EXACT_BYTES: usize = 4 << 20;

/// Most vectors of so many numbers that are read for one search.
pub(super) fn exact_rows(dim: usize) -> usize {
    let bytes = dim.max(1) * size_of::<f32>();
    (EXACT_BYTES / bytes).clamp(1, EXACT_ROWS)
}

/// Images forgotten in one transaction.
pub const FORGET_BATCH: usize = 256;
/// Ids looked through at once for images to be forgotten, where no index tells them.
pub const FORGET_WINDOW: i64 = 10_000;

/// Widest model id that the store takes.
pub const MODEL_CHARS: usize = 160;
/// Longest asset id that the store takes.
pub const ASSET_CHARS: usize = 255;
/// Longest theme that the store takes.
pub const THEME_CHARS: usize = 120;
/// Most labels kept of what a picture was seen as.
pub const LABELS_PER_LOOK: usize = 5;
/// Most looks (theme, labels, model) kept of a picture; the oldest make room.
pub const LOOKS_PER_IMAGE: usize = 32;
/// Most names kept of a picture beside the hash of its bytes; a later one is not kept.
pub const NAMES_PER_IMAGE: u64 = 16;
/// Most asset ids kept of an image beside the one that it came with first; the oldest make room.
pub const ASSETS_PER_IMAGE: usize = 16;
/// Judgements of a picture under a theme that are credited by one transaction.
pub const JUDGEMENTS_AT_ONCE: u64 = 1000;
