import { Alert, Button, Code, CopyButton, Group, Loader, Modal, Stack, Text } from '@mantine/core'
import { IconCircleCheck } from '@tabler/icons-react'
import { useEffect } from 'react'
import { useTranslation } from 'react-i18next'
import { useMutation } from 'urql'
import { Failure } from '../../shared/Failure'
import { useScope } from '../../shared/scope'
import { JOIN } from './documents'
import { useNewAgent } from './useNewAgent'

/** Seconds that the command works. */
const VALID = 3600

/** The command that adds a node, and word of the node when it is there. */
export function JoinAgentDialog({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  const { t } = useTranslation()
  return (
    <Modal
      closeButtonProps={{ 'aria-label': t('app.close') }}
      opened={opened}
      onClose={onClose}
      title={t('agents.joinTitle')}
      size="lg"
    >
      <JoinCommand />
    </Modal>
  )
}

function JoinCommand() {
  const { t } = useTranslation()
  const { resourceGroupId } = useScope()
  const [{ data, error }, create] = useMutation(JOIN)
  useEffect(() => {
    if (resourceGroupId) void create({ input: { resourceGroupId, expiresInSeconds: VALID } })
  }, [resourceGroupId, create])
  const made = data?.createJoinToken
  const arrived = useNewAgent(made && Date.parse(made.expiresAt) - VALID * 1000)
  const command = made?.command ?? ''
  return (
    <Stack>
      {error && <Failure error={error} />}
      <Text size="sm">{t('agents.joinText')}</Text>
      <Code block className="command" data-done={arrived !== undefined || undefined}>
        {command}
      </Code>
      <Group justify="space-between">
        <div role="status">
          {arrived ? (
            <Alert color="teal" icon={<IconCircleCheck size={18} aria-hidden />} p="xs">
              {t('agents.joinDone', { name: arrived })}
            </Alert>
          ) : (
            <Group gap="xs">
              <Loader size="xs" aria-hidden />
              <Text size="sm" c="dimmed">
                {t('agents.joinWaiting')}
              </Text>
            </Group>
          )}
        </div>
        <CopyButton value={command}>
          {({ copied, copy }) => (
            <Button variant="light" onClick={copy} disabled={!command}>
              {copied ? t('app.copied') : t('app.copy')}
            </Button>
          )}
        </CopyButton>
      </Group>
    </Stack>
  )
}
