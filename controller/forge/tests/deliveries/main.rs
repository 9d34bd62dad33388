//! Deliveries as the forges send them, and as those send them who wish us ill.

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod shelf;
