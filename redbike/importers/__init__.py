"""Read the job lists of other schedulers. Knows neither Redis nor a clock: texts become rows and complaints."""
