//! Values and gradients of other operations, losses and random numbers.
