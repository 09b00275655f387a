//! The services: what each call checks, asks and answers.
