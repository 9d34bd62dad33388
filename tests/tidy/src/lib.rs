//! Rules about the tree itself, as tests: who may use whom, how long a file may be, what every file
//! must say and what none may hold. `docs/ARCHITECTURE.md` gives the reasons.

#[cfg(test)]
mod compat;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod predecessors;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod texts;
#[cfg(test)]
mod tree;
