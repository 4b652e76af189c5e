mod chaos;
mod decide;
mod fake;
mod replicas;
