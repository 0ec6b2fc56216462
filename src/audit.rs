//! Which types cross threads, what they share, what protects it, and which test
//! would notice if it did not.
//!
//! The table of [`threads`] is made of the same lines that the tests assert:
//! `shared` is `Send + Sync`, `moved` is `Send` and not `Sync`, `local` is
//! neither. `global` is a static, which the compiler asks to be `Sync`, and
//! `thread` a thread-local. `tests/audit.rs` sees to it that every public type,
//! every type with an `unsafe impl` of either trait and every static is here,
//! and that the tests named here exist.

macro_rules! audit {
    ($($intent:ident [$($type:ty),+ $(,)?] $shares:literal, $protects:literal, $test:literal;)+) => {
        #[doc = "What crosses threads, and what does not."]
        #[doc = ""]
        #[doc = "| types | threads | what is shared | what protects it | which test notices |"]
        #[doc = "|---|---|---|---|---|"]
        $(
            #[doc = concat!(
                "| ", $("`", stringify!($type), "` ",)+ "| ", stringify!($intent), " | ",
                $shares, " | ", $protects, " | ", $test, " |"
            )]
        )+
        pub mod threads {}

        #[cfg(all(test, feature = "capi"))]
        mod asserted {
            use crate::ffi::{handle, job::*, limits::*, log::*, memory::*, model::*, queue::*};
            use crate::ffi::reader::*;
            use crate::ffi::{metrics::*, subscription::*};
            use crate::ffi::{audio::*, boxes::*, image::*};
            use crate::ffi::{run::*, runtime::*, session::*, status::*, tensor::*};
            use crate::{crew, error, host, kernels, log, metrics, model, plan, pool, prep, queue};
            use crate::{session, tensor};
            use crate::work;
            use crate::ffi;
            use static_assertions::{assert_impl_all, assert_not_impl_any};

            macro_rules! shared {
                ($one:ty) => { assert_impl_all!($one: Send, Sync); };
            }
            macro_rules! moved {
                ($one:ty) => {
                    assert_impl_all!($one: Send);
                    assert_not_impl_any!($one: Sync);
                };
            }
            macro_rules! local {
                ($one:ty) => { assert_not_impl_any!($one: Send, Sync); };
            }
            // Paths of statics: that they are there is for `tests/audit.rs`.
            macro_rules! global { ($one:ty) => {}; }
            macro_rules! thread { ($one:ty) => {}; }
            $($( $intent!($type); )+)+
        }
    };
}

audit! {
    // ---- What a host names by handle
    shared [model::Model]
        "all of it, by every session and thread", "nothing changes after the load; `Memo` has its lock",
        "tests/c/threads.c";
    shared [session::Session]
        "its inside, one thread at a time", "a lock that is tried: the second thread is told BUSY",
        "tests/c/threads.c";
    local [session::Entered<'static>]
        "nothing", "it stays on the thread that entered", "tests/c/threads.c";
    moved [session::Inner]
        "nothing: whoever entered has it", "the session's lock", "tests/c/threads.c";
    moved [plan::State]
        "nothing: a session's own way through a program", "the session's lock", "tests/c/threads.c";
    shared [plan::Program, session::audited::IndexChecks, session::audited::LargeSteps]
        "all of it, by the sessions of the same shapes", "nothing changes after it is compiled",
        "tests/c/threads.c";
    shared [plan::Value]
        "the elements, by its clones", "written only through `Arc::get_mut`, where nobody shares them",
        "src/plan/value.rs";
    moved [session::BoundInput, session::BoundOutput, session::audited::CStrings]
        "the host's memory, or C strings of ours", "used inside the session only, by the thread that entered",
        "tests/c/session.c";
    global [ffi::model::MODELS, ffi::session::SESSIONS, ffi::queue::QUEUES, ffi::job::JOBS]
        "the handles of all threads", "an atomic a slot: generation, LIVE, pins (`ffi::handle`, 1 to 5)",
        "tests/loom/src/lib.rs";
    local [handle::Pinned<'static, model::Model>, handle::Pinned<'static, session::Session>]
        "nothing: a slot's pin during one call", "they stay on their thread",
        "tests/loom/src/lib.rs";
    shared [handle::Table<model::Model>, handle::Table<session::Session>]
        "as the statics of this type", "as above", "tests/loom/src/lib.rs";

    shared [handle::Table<HostQueue>, handle::Table<Place>]
        "as the statics of this type", "as above; a job's slot is opened by who has its place",
        "tests/loom/src/lib.rs";

    // ---- Queues
    shared [HostQueue, Place, queue::Queue<queue::Sessions, HostNote>,
            queue::Core<queue::Sessions, HostNote>]
        "all of it, by submitters, drivers, waiters",
        "`queue::phase` 1 to 5; a lock each for what is scheduled, a bell, the gate",
        "tests/queue_threads.rs";
    shared [queue::audited::Inbox, queue::audited::Free, queue::audited::Phase]
        "new jobs, free places, a job's life", "one atomic each, by read-modify-write",
        "tests/loom/src/queue.rs";
    moved [queue::Input, queue::Lent, HostNote, queue::audited::Content<HostNote>]
        "the host's memory and pointer", "`queue::phase` 5; lent until it is answered",
        "tests/c/queue.c";
    shared [queue::audited::Owned<queue::audited::Content<HostNote>>]
        "what a job is made of", "`queue::phase` 5: one thread's, or not changed any more",
        "tests/queue_threads.rs";
    shared [queue::Sessions, queue::Rows, queue::Part<'static>, queue::Lane<'static>,
            queue::audited::Cell<queue::Rows, HostNote>]
        "sessions that rest, outputs of a batch", "a lock; outputs do not change while a job has them",
        "tests/c/queue.c";
    shared [queue::Options, queue::Settings, queue::Fit, queue::Health, queue::audited::Policy,
            queue::audited::Breaker, queue::audited::Arrival, queue::audited::Next,
            queue::audited::Own,
            queue::audited::Cancel, queue::audited::Answered, queue::audited::Taken,
            queue::audited::Closed]
        "nothing: plain values", "copied, or in a lock", "src/queue/policy/tests.rs";
    moved [queue::Request<HostNote>]
        "nothing: one driver's, or given away whole", "they are one thread's at a time", "tests/c/queue.c";
    shared [metrics::QueueMeter, metrics::audited::QueueCells, metrics::QueueTotals]
        "counts", "atomics; waits and batches are counted under the queue's lock",
        "src/metrics/queue.rs";
    global [ffi::queue::PRODUCERS]
        "a number for each thread that submits", "an atomic", "tests/c/queue.c";
    thread [ffi::queue::PRODUCER, queue::telling::IS_TELLING]
        "nothing", "each thread has its own", "tests/c/queue.c";

    // ---- Memory
    global [pool::shard::ALL]
        "chunks and their free blocks", "one lock a shard (`pool`, invariants 6 and 7)", "tests/tsan.sh";
    moved [pool::audited::Shard]
        "nothing: it is inside its lock", "the lock of its shard", "tests/tsan.sh";
    global [pool::shard::REGIONS]
        "where the regions are", "an atomic a place; a region with a block in use stays in it",
        "tests/loom/src/memory.rs";
    shared [pool::audited::Regions<64>, pool::audited::Balance, pool::audited::Bump, pool::audited::Slot]
        "counts, and places of a table", "atomics, by compare-and-swap where one depends on another",
        "tests/loom/src/memory.rs";
    global [pool::accounts::FIRST, pool::accounts::SLOTS, pool::accounts::TABLE]
        "the accounts", "balances are atomics; opening and closing has a lock; slots are never freed",
        "tests/c/budget.c";
    shared [pool::Account]
        "its balance", "atomics", "src/pool/account.rs";
    local [pool::Charge<'static>, pool::Scope<'static>, pool::Waiting, pool::Boundary<'static>,
           work::Checks<'static>]
        "nothing: a part of one thread's call", "they stay on their thread", "src/pool/ledger.rs";
    shared [pool::Working, pool::Budget, pool::Stats, pool::Cause, pool::Shortage]
        "nothing: plain values", "copied", "tests/c/budget.c";
    global [pool::source::RESERVE]
        "the room that failing calls use", "one compare-and-swap hands out every byte once",
        "tests/loom/src/memory.rs";
    shared [pool::audited::Reserve]
        "as the static of this type", "as above", "tests/loom/src/memory.rs";
    global [pool::source::HOSTS, pool::source::CURRENT, pool::shard::DECAY, pool::shard::COMMITTED,
            pool::heap::MODE, pool::cache::MOST, pool::shard::THREADS, pool::mapping::BEGIN]
        "settings and counts", "each is one atomic, made once, or constant", "tests/c/pool.c";
    shared [host::HostMemory]
        "the host's two functions", "the host promises that any thread may call them", "tests/c/memory.c";
    thread [pool::ledger::LEDGER, pool::cache::LAST]
        "nothing: what a thread took, and the free blocks it has at hand",
        "`const`, no destructor of its own; blocks of other threads go through their account and shard",
        "tests/tsan.sh";
    global [pool::global::POOL]
        "nothing: it has no content", "all above", "tests/tsan.sh";

    // ---- What computes
    shared [kernels::Packed, kernels::QPacked, kernels::Weights, kernels::Aligned, kernels::Floats, kernels::Filter, model::Recur, plan::audited::Region,
            plan::DirectState]
        "weights and steps, by every session of a program", "nothing changes once it is made",
        "tests/c/threads.c";
    shared [plan::Slice]
        "nothing: plain values", "copied", "src/plan/slice.rs";
    moved [plan::GeneralState]
        "its program", "one session owns it; what it computes in is its own", "tests/c/threads.c";
    shared [kernels::Isa, kernels::Unary, kernels::Binary, kernels::Reduce, kernels::Cell,
            kernels::Pieces, kernels::Pooling, kernels::Tile, kernels::Scale, kernels::QAdd]
        "nothing: plain values", "copied", "src/kernels/isa.rs";
    shared [kernels::PackedRef<'static>, kernels::Operand<'static>, kernels::Gemm<'static>,
            kernels::Matmul<'static>, kernels::Sequence<'static>, kernels::Outputs<'static>,
            kernels::Windows<'static>, kernels::Winograd<'static>, kernels::Depthwise<'static>,
            kernels::Pool<'static>, kernels::Taps<'static>, kernels::QPackedRef<'static>,
            kernels::QGemm<'static>, kernels::QOut<'static>, kernels::QDepthwise<'static>,
            kernels::QPool<'static>, kernels::Correction<'static>]
        "the operands of one call", "borrowed for it", "src/kernels/aligned.rs";
    shared [kernels::Panel<'static>]
        "rows that others have the rest of", "it has its own columns alone",
        "src/kernels/gemm/panel.rs";
    shared [kernels::Blob, host::MappedFile]
        "a mapped file", "read only; what has a part of it holds it", "tests/c/cache.c";
    shared [kernels::Shared]
        "weights, by the programs of a model", "a lock of the model's", "tests/c/session.c";
    shared [kernels::Collected]
        "weights, while they are written", "one thread has it", "src/kernels/floats.rs";
    thread [kernels::floats::SHELF, kernels::mode::HOSTS]
        "nothing", "each thread has its own, during one call", "src/kernels/floats.rs";
    global [model::cache::file::COUNT]
        "a number that makes names differ", "an atomic", "tests/c/cache.c";
    global [kernels::isa::CAP]
        "which instructions are allowed", "an atomic", "tests/c/isa.c";

    // ---- Threads of ours
    shared [pool::Keeper]
        "how a thread of ours stands, with its waiter", "a lock and its condition; one flag is an atomic",
        "src/pool/keeper.rs";
    global [crew::PLACES]
        "where helpers are offered jobs", "an atomic a place; a lock and its condition to sleep at",
        "tests/loom/src/crew.rs";
    shared [crew::audited::Place, crew::audited::Job<'static>]
        "what is offered, and the parts of it", "atomics (`crew::place`, 1 to 4)",
        "tests/loom/src/crew.rs";
    shared [crew::audited::Apart<u8>]
        "parts and workers of one call", "each index is one thread's; a job gives it once",
        "src/crew/tests.rs";
    global [crew::hosts::DESK]
        "jobs that the host's threads do parts of", "atomics (`crew::desk`, 1 and 2)",
        "tests/loom/src/crew.rs";
    shared [crew::audited::Desk]
        "as the static of this type", "as above", "tests/loom/src/crew.rs";
    global [crew::hosts::JOBS, crew::hosts::EVER, crew::hosts::PROCESS]
        "the host's jobs", "atomics, and a lock for init; what they point to stays", "tests/c/jobs.c";
    shared [host::HostJobs]
        "the host's function", "the host promises that any thread may call it", "tests/c/jobs.c";
    global [crew::THREADS, crew::HIRED, crew::PROCESS, crew::TURN]
        "the helpers that there are", "a lock; an atomic each for who looks", "src/crew/tests.rs";
    thread [plan::region::node::THREADS, plan::region::node::UNDER]
        "nothing", "set and taken back by one call", "tests/c/crew.c";
    shared [work::audited::Task<u8>]
        "the answer of a thread of ours", "a lock", "src/work.rs";
    moved [work::audited::Inherited]
        "the deadline and the `Stop` of a run, with a thread that works for it",
        "the run waits until that has ended", "src/work/limits.rs";
    shared [work::Budget, pool::State]
        "nothing: plain values", "copied", "src/work.rs";
    local [work::Deadline, kernels::FloatMode]
        "nothing: the time, or the floating-point mode, of one thread's call", "they stay on their thread",
        "src/work.rs";
    shared [work::Stop]
        "whether a run is to end, by the thread inside and any that cancels", "an atomic",
        "tests/c/slice.c";
    thread [work::limits::HERE, panics::DEPTH, panics::MESSAGE, ffi::guard::TEXT]
        "nothing", "each thread has its own", "tests/c/threads.c";
    global [work::LEFT_BEHIND, panics::HOOK, runtime::USERS]
        "how many threads stay behind; the panic hook; the users of the runtime",
        "an atomic; a `Once`; a lock", "tests/c/threads.c";

    // ---- What is counted
    shared [metrics::SessionMeter, metrics::audited::Cells]
        "its counts: written by the thread inside the session, read by any",
        "atomics; the session's lock", "src/metrics/cells.rs";
    shared [metrics::Collector, metrics::audited::Hub, metrics::audited::Meter, metrics::ModelMeter,
            metrics::Load, metrics::Loaded]
        "counts, the sessions of a name, the channel", "atomics, a lock for all meters and one for each",
        "tests/metrics_threads.rs";
    moved [metrics::Processor]
        "nothing: whoever has it receives", "it is one", "tests/metrics_threads.rs";
    shared [metrics::Running, metrics::audited::Subscriptions, metrics::audited::Subscription,
            metrics::audited::Trace, metrics::AuditLog]
        "subscribers, spans, records", "a lock each, which no callback needs",
        "tests/metrics_threads.rs";
    moved [metrics::Task]
        "nothing: its subscription has it", "the subscription's lock", "tests/metrics_threads.rs";
    moved [ffi::audited::HostData]
        "the host's pointer", "handed through", "tests/c/metrics.c";
    global [metrics::global::INSTALLED, metrics::global::CHANGES, metrics::switches::SWITCHES,
            metrics::trace::NUMBERS, host::clock::BEGIN, host::clock::CLOCK]
        "the collector, who drives; switches; the clock's rate",
        "locks; atomics; made once", "tests/c/metrics.c";
    thread [metrics::processor::IS_TELLING, metrics::profile::IS_ON, metrics::profile::RECORDER,
            metrics::trace::NUMBER]
        "nothing", "each thread has its own", "tests/c/metrics.c";
    shared [metrics::Snapshot, metrics::ModelSnapshot, metrics::Totals, metrics::Histogram,
            metrics::Event, metrics::Happened, metrics::LoadTold, metrics::Begun, metrics::Format,
            metrics::Metric, metrics::Threshold, metrics::Crossing, metrics::Report<'static>,
            metrics::Driver, metrics::profile::Recorder, metrics::profile::Step,
            metrics::profile::Entry, host::Clock]
        "nothing: plain values", "copied, or one owner's", "src/metrics/histogram.rs";

    // ---- What the host brings
    global [log::LEVEL, log::SINK]
        "where lines go", "an atomic; a lock, which is not held while a line is written", "tests/c/log.c";
    shared [log::Sink, ffi::audited::HostSink]
        "the host's function", "the host promises that any thread may call it", "tests/c/log.c";
    shared [ffi::audited::HostReader]
        "the host's functions", "one load uses them, one call at a time", "tests/c/threads.c";
    shared [host::Files, host::MemoryOnly, host::Slice<'static>]
        "nothing: no content, or a number", "copied", "tests/c/model.c";
    global [model::isolate::helper::GIVEN]
        "the helper's path", "a lock", "tests/c/isolation.c";
    global [model::operators::FRAMEWORK, model::lower::native::OWN]
        "tract's table of operators", "made once, never changed", "tests/c/threads.c";

    // ---- Before and after a run
    shared [prep::Image<'static>, prep::ToTensor, prep::Fit, prep::Filter, prep::Format, prep::Layout,
            prep::Order, prep::Map, prep::Target<'static>, prep::Framer, prep::Samples<'static>,
            prep::BoxFormat, prep::Candidates<'static>, prep::Nms, prep::Decode,
            prep::Detections<'static>, kernels::Pairs, kernels::Pixel, kernels::Blend,
            kernels::Rows<'static>, kernels::Span, kernels::Best, kernels::Boxes, kernels::Rect]
        "the caller's memory, or plain values", "borrowed for one call, or copied", "tests/c/prep.c";

    // ---- Values
    shared [error::Error, error::Kind, tensor::DType, tensor::Shape, log::Level, model::Limits,
            model::Isolation, model::About, model::PortInfo, model::Dim, session::Need,
            host::Identity]
        "nothing: plain values", "immutable, or copied", "tests/c/model.c";
    local [tensor::View<'static>, tensor::Data<'static>]
        "a session's memory, or the caller's", "read or written inside one call", "tests/c/session.c";
    shared [session::SessionOptions, model::LoadOptions, model::Source<'static>, model::Specialisation,
            model::InputSpec, model::Imported]
        "what a load or a session is made of", "given away whole", "tests/c/session.c";

    // ---- The C structs and enums: read, or filled, inside one call
    local [inferno_runtime_options, inferno_allocator, inferno_host_jobs, inferno_model_options, inferno_model_info,
           inferno_reader, inferno_tensor, inferno_tensor_info, inferno_input_shape,
           inferno_symbol_value, inferno_input_constant, inferno_state_pair, inferno_session_options,
           inferno_subscription_options, inferno_event, inferno_image, inferno_audio_framer,
           inferno_job_options]
        "pointers of the caller's", "read during the call, by the thread that calls", "tests/c/bad_args.c";
    shared [inferno_model_limits, inferno_memory_stats, inferno_memory_need, inferno_run_options,
            inferno_status, inferno_dtype, inferno_isolation, inferno_log_level,
            inferno_isa, inferno_metrics, inferno_metrics_driver, inferno_metric,
            inferno_metrics_format, inferno_event_kind, handle::Kind, inferno_pixel_format,
            inferno_fit, inferno_filter, inferno_layout, inferno_channel_order, inferno_box_format,
            inferno_image_options, inferno_image_map, inferno_nms_options, inferno_decode_options,
            inferno_model, inferno_session, inferno_log_callback,
            inferno_queue, inferno_job, inferno_queue_options, inferno_queue_metrics,
            inferno_queue_health, inferno_priority, inferno_shutdown_mode, inferno_job_callback]
        "nothing: plain values, and what handles are called", "copied", "tests/c/bad_args.c";
}
