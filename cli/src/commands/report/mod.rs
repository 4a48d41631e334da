//! `report`: one page that says what a file is, whether it is sound, and what fills it; of a member or of several.
//!
//! [`look`] opens the inputs and asks the engine for its judgement, [`gather`] reads one of them; [`head`] says what
//! decides, [`page`] puts the sections together, [`several`] the inputs. The page needs nothing but itself: no network, no
//! fonts, a few lines of script that show which page the pointer is on. Texts of strangers are escaped twice: what a
//! terminal or a browser would obey or hide becomes visible, and all of it is text to the HTML.

mod answer;
mod files;
mod findings;
mod gather;
mod head;
mod history;
mod keys;
mod look;
mod map;
mod member;
mod page;
mod pages;
mod run;
mod saved;
mod several;
mod space;
mod text;
mod tiles;
mod treemap;

pub use run::run;
