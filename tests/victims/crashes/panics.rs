//! Rust's ways to die, by the first argument.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

struct Careless;

impl Drop for Careless {
    fn drop(&mut self) {
        panic!("while unwinding");
    }
}

trait Shape {
    fn area(&self) -> u32;
}

struct Square(*const u32);

impl Shape for Square {
    fn area(&self) -> u32 {
        unsafe { std::ptr::read_volatile(self.0) }
    }
}

#[inline(never)]
fn parse(text: &str) -> u32 {
    text.parse().unwrap()
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let pad = std::hint::black_box([depth; 16]);
    recurse(depth + 1) + pad[3]
}

#[inline(never)]
fn measure(shapes: &[Box<dyn Shape>]) -> u32 {
    shapes.iter().map(|shape| shape.area()).sum()
}

#[inline(never)]
fn look_up(table: &HashMap<String, u32>) -> u32 {
    table["absent"]
}

fn main() {
    let way = std::env::args().nth(1).unwrap_or_default();
    match way.as_str() {
        "panic" => drop(parse("x")),
        "segv" => drop(std::hint::black_box(measure(&[Box::new(Square(std::ptr::null()))]))),
        "overflow" => drop(std::hint::black_box(recurse(1))),
        "twice" => {
            let _careless = Careless;
            parse("y");
        }
        "index" => drop(look_up(&HashMap::new())),
        "threads" => {
            let lock = Arc::new(Mutex::new(0));
            let held = lock.lock().unwrap();
            for _ in 0..4 {
                let lock = Arc::clone(&lock);
                std::thread::spawn(move || *lock.lock().unwrap() += 1);
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            std::thread::spawn(|| measure(&[Box::new(Square(std::ptr::null()))])).join().unwrap();
            drop(held);
        }
        _ => std::process::exit(2),
    }
}
