import { Alert, Button, Group, Paper, PasswordInput, Stack, Text, TextInput, Title } from '@mantine/core'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { type FormEvent, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { login } from '../../shared/auth'
import { usePageTitle } from '../../shared/usePageTitle'

export default function LoginRoute() {
  const { t } = useTranslation()
  const navigate = useNavigate()
  const { next } = useSearch({ strict: false }) as { next?: string }
  const [email, setEmail] = useState('')
  const [password, setPassword] = useState('')
  const [error, setError] = useState<string>()
  const [busy, setBusy] = useState(false)

  usePageTitle(t('login.title'))

  async function submit(event: FormEvent) {
    event.preventDefault()
    setBusy(true)
    setError(undefined)
    try {
      await login(email, password)
      // Only a path of our own: a link must not be able to send a login elsewhere.
      await navigate({ to: next && /^\/(?!\/)/.test(next) ? next : '/' })
    } catch (failure) {
      setError((failure as Error).message)
      setBusy(false)
    }
  }

  return (
    <main className="centre">
      <Paper className="card" p="xl" radius="lg" w="100%" maw={400} shadow="sm">
        <form onSubmit={submit}>
          <Stack gap="md">
            <Group gap="sm">
              <img src="/icon.svg" alt="" width={36} height={36} />
              <div>
                <Title order={1} size="h3">
                  Berth
                </Title>
                <Text size="sm" c="dimmed">
                  {t('app.tagline')}
                </Text>
              </div>
            </Group>
            {error && (
              <Alert color="red" role="alert">
                {error}
              </Alert>
            )}
            <TextInput
              label={t('login.email')}
              type="email"
              autoComplete="username"
              value={email}
              onChange={(event) => setEmail(event.currentTarget.value)}
              required
              autoFocus
            />
            <PasswordInput
              label={t('login.password')}
              autoComplete="current-password"
              value={password}
              onChange={(event) => setPassword(event.currentTarget.value)}
              required
            />
            <Button type="submit" loading={busy} fullWidth mt="xs">
              {t('login.submit')}
            </Button>
          </Stack>
        </form>
      </Paper>
    </main>
  )
}
