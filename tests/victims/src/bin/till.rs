//! `till`: the sample application of the demo. A shop's till with three threads that record what they do; the
//! fourteenth receipt meets a customer without a card and the printer thread dereferences a null pointer.
//!
//! `till --error` meets the same customer, reports the error through the library and goes on.
#![allow(unsafe_code)]

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use foretrace::{Privacy, annotate, event};

struct Sale {
    number: u32,
    customer: String,
    cents: u64,
    card: *const u8,
}

// SAFETY: the pointer is only ever null or into a static string.
unsafe impl Send for Sale {}

fn main() {
    let report_only = std::env::args().any(|argument| argument == "--error");
    foretrace::start();
    annotate("shop", "Main Street 4", Privacy::Public);
    annotate("cashier", "Ada Lovelace", Privacy::Personal);
    event!(info, "till opened", drawer = 3u32, float_cents = 20_000u64);
    let (orders, counter) = mpsc::channel::<Sale>();
    let (receipts, printer) = mpsc::channel::<Sale>();
    let paying =
        thread::Builder::new().name("counter".into()).spawn(move || take_payments(&counter, &receipts));
    let printing =
        thread::Builder::new().name("printer".into()).spawn(move || print_receipts(&printer, report_only));
    for number in 1..=16 {
        let customer = format!("customer-{number}@example.org");
        let card = if number == 14 { std::ptr::null() } else { b"4000".as_ptr() };
        let sale = Sale { number, customer, cents: u64::from(number) * 1250, card };
        event!(info, "order", number = sale.number, cents = sale.cents, customer: personal = sale.customer.as_str());
        if orders.send(sale).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    drop(orders);
    paying.expect("the counter started").join().expect("the counter ended");
    printing.expect("the printer started").join().expect("the printer ended");
    event!(info, "till closed", receipts = 16u32);
}

fn take_payments(counter: &mpsc::Receiver<Sale>, receipts: &mpsc::Sender<Sale>) {
    for sale in counter {
        event!(debug, "card read", number = sale.number, token: secret = "4000-1234-5678-9010", present = !sale.card.is_null());
        thread::sleep(Duration::from_millis(7));
        if sale.card.is_null() {
            event!(warn, "no card", number = sale.number, fallback = "cash");
        }
        event!(info, "paid", number = sale.number, cents = sale.cents);
        if receipts.send(sale).is_err() {
            return;
        }
    }
}

fn print_receipts(printer: &mpsc::Receiver<Sale>, report_only: bool) {
    for sale in printer {
        event!(debug, "printing", number = sale.number, width = 42u16);
        if report_only && sale.card.is_null() {
            event!(error, "receipt has no card", number = sale.number);
            foretrace::report_error("receipt 14 has no card to mask");
            continue;
        }
        let digit = first_card_digit(&sale);
        event!(
            info,
            "printed",
            number = sale.number,
            digit = u32::from(digit),
            characters = sale.customer.len() as u64
        );
    }
}

#[inline(never)]
fn first_card_digit(sale: &Sale) -> u8 {
    // SAFETY: none for the customer without a card: that is the bug that the demo is about.
    unsafe { std::hint::black_box(sale.card).read_volatile() }
}
