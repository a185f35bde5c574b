// What a part of a row comes down to.
struct Stats {
    peak: f32, // the maximum; +inf where there is a NaN or +inf, -inf where there is nothing else
    sum: f32, // of exp(logit - peak)
    mass: f32, // sum of the probabilities
    cross: f32, // sum of probability * (peak - logit)
}
