//! How much a checker may spend: the caller owns the clock, the checker asks now and then.
//!
//! A checker that reaches the bound answers `unknown` and says how far it came; it never hangs and never passes.

/// Short steps between two looks at the clock.
pub(crate) const STEPS: usize = 64;

/// The bound of one check.
#[derive(Clone, Copy)]
pub struct Budget<'a> {
    /// Asked now and then (each key, each list that was read, each 64 of what is short): whether the time is up. Once it is, it stays so.
    pub exhausted: &'a (dyn Fn() -> bool + Sync),
    /// How much memory a property may use besides the history, in bytes: what its size tells in advance, and what a search remembers.
    pub memory_bytes: u64,
}

impl Budget<'static> {
    /// No bound at all: for tests and small histories.
    pub fn unlimited() -> Self {
        Self {
            exhausted: &|| false,
            memory_bytes: u64::MAX,
        }
    }
}

impl Budget<'_> {
    /// Whether the time is up.
    pub fn is_exhausted(&self) -> bool {
        (self.exhausted)()
    }

    /// These as long as the time lasts, for what is gathered in many short steps. Who concludes something from what was gathered asks first.
    pub(crate) fn lasting<I: IntoIterator>(&self, all: I) -> impl Iterator<Item = I::Item> {
        let lasts = |done: usize| !(done.is_multiple_of(STEPS) && self.is_exhausted());
        let all = all.into_iter().enumerate();
        all.take_while(move |(done, _)| lasts(*done))
            .map(|(_, one)| one)
    }
}

impl std::fmt::Debug for Budget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget")
            .field("memory_bytes", &self.memory_bytes)
            .finish_non_exhaustive()
    }
}
