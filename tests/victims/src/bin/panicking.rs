//! `panicking caught|abort`: panics in a thread after a few events; goes on, or aborts as a `panic = "abort"`
//! program would.

use std::thread;
use std::time::Duration;

use foretrace::event;

fn main() {
    let abort = std::env::args().nth(1).as_deref() == Some("abort");
    foretrace::start();
    if abort {
        // What `panic = "abort"` does after the hooks: installed first, so that it runs last in the chain.
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |information| {
            default(information);
            std::process::abort();
        }));
    }
    foretrace::panic_hook();
    let panicked = thread::Builder::new()
        .name("indexer".into())
        .spawn(|| {
            let asked = std::hint::black_box(7);
            event!(info, "looking up", place = asked as u64);
            look_up(asked)
        })
        .expect("a thread can be started")
        .join();
    assert!(panicked.is_err());
    event!(info, "went on");
    thread::sleep(Duration::from_millis(500));
}

#[inline(never)]
fn look_up(place: usize) -> u32 {
    let shelf = [1, 2, 3];
    shelf[place]
}
