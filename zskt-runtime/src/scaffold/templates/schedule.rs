//! A trapezoid.

use zskt_api::{CheckError, Schedule, params};

params! {
    /// Up in a straight line from nothing to the optimizer's learning rate, level, and down in a straight line.
    pub struct ExampleSchedule {
        /// The share of the batches in which it goes up.
        pub warm_up: f64 = 0.1 => 0.0..=1.0,
        /// The share of the batches in which it goes down.
        pub cool_down: f64 = 0.5 => 0.0..=1.0,
        /// The factor that it ends with.
        pub floor: f64 = 0.0 => 0.0..=1.0,
    }
}

impl Schedule for ExampleSchedule {
    fn check(&self) -> Result<(), CheckError> {
        let all = self.warm_up + self.cool_down;
        if all > 1.0 {
            let message = format!("going up and down take {all} of all batches");
            return Err(CheckError::parameter("cool_down", message).help("their sum is at most 1"));
        }
        Ok(())
    }

    fn factor(&self, batch: usize, batches: usize) -> f64 {
        // Shares of the batches that are done when this one is, and that are left when it begins.
        let [done, left] = [batch + 1, batches - batch].map(|count| count as f64 / batches as f64);
        let up = if done < self.warm_up {
            done / self.warm_up
        } else {
            1.0
        };
        let down = if left < self.cool_down {
            left / self.cool_down
        } else {
            1.0
        };
        up * (self.floor + (1.0 - self.floor) * down)
    }
}

zskt_api::export! { reads: none; schedule: ExampleSchedule }

#[cfg(test)]
mod tests {
    use zskt_api::testing::conforms;
    use zskt_api::{Result, Schedule};

    use super::ExampleSchedule;

    #[test]
    fn it_keeps_its_contract() -> Result<()> {
        conforms("ExampleSchedule(warm_up: 0.3, floor: 0.1)")
    }

    #[test]
    fn it_goes_up_and_down() {
        let schedule = ExampleSchedule {
            warm_up: 0.2,
            cool_down: 0.4,
            floor: 0.5,
        };
        let factors: Vec<_> = (0..10).map(|batch| schedule.factor(batch, 10)).collect();
        let expected = [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.875, 0.75, 0.625];
        let close = |(found, expected): (&f64, &f64)| (found - expected).abs() < 1e-12;
        assert!(factors.iter().zip(&expected).all(close), "{factors:?}");
        assert!(
            ExampleSchedule {
                warm_up: 0.7,
                ..schedule
            }
            .check()
            .is_err()
        );
    }
}
